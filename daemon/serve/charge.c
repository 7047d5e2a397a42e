/* SPDX-License-Identifier: Apache-2.0
 *
 * Charges: a sum is entered once and taken out once, which is asserted.
 */
#include "daemon/serve/charge.h"

#include <assert.h>
#include <stddef.h>

static bool account_has_room(const struct account *account, uint64_t amount) {
    return !account ||
           (account->held <= account->limit && amount <= account->limit - account->held);
}

static void account_take_out(struct account *account, uint64_t amount) {
    assert(account->held >= amount);
    account->held -= amount;
}

bool charge_take(struct charge *charge, uint64_t amount, struct account *first,
                 struct account *second) {
    bool fits = account_has_room(first, amount) && account_has_room(second, amount);

    if (fits)
        charge_impose(charge, amount, first, second);
    return fits;
}

void charge_impose(struct charge *charge, uint64_t amount, struct account *first,
                   struct account *second) {
    assert(charge->amount == 0 && amount > 0);
    *charge = (struct charge){.first = first, .second = second, .amount = amount};
    first->held += amount;
    if (second)
        second->held += amount;
}

void charge_give_back(struct charge *charge) {
    if (charge->first)
        account_take_out(charge->first, charge->amount);
    if (charge->second)
        account_take_out(charge->second, charge->amount);
    *charge = (struct charge){0};
}
