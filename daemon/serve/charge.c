/* SPDX-License-Identifier: Apache-2.0
 *
 * Charges: a sum is entered once and taken out once, which is asserted.
 */
#include "daemon/serve/charge.h"

#include <assert.h>
#include <stddef.h>

static bool account_has_room(const struct account *account, uint64_t amount) {
    return account->held <= account->limit && amount <= account->limit - account->held;
}

static void account_enter(struct account *account, uint64_t amount) {
    if (account)
        account->held += amount;
}

static void account_take_out(struct account *account, uint64_t amount) {
    if (!account)
        return;
    assert(account->held >= amount);
    account->held -= amount;
}

bool charge_take(struct charge *charge, uint64_t amount, struct account *first,
                 struct account *second) {
    if (!account_has_room(first, amount) || (second && !account_has_room(second, amount)))
        return false;
    charge_impose(charge, amount, first, second);
    return true;
}

void charge_impose(struct charge *charge, uint64_t amount, struct account *first,
                   struct account *second) {
    assert(charge->amount == 0 && amount > 0);
    *charge = (struct charge){.first = first, .second = second, .amount = amount};
    account_enter(first, amount);
    account_enter(second, amount);
}

void charge_give_back(struct charge *charge) {
    account_take_out(charge->first, charge->amount);
    account_take_out(charge->second, charge->amount);
    *charge = (struct charge){0};
}
