/* SPDX-License-Identifier: Apache-2.0
 *
 * Accounts count what clients make the daemon hold: connections, bytes, residues that wait. A
 * charge is an entry in one or two accounts. It is embedded in the record or session that it is
 * made for, which gives it back at its end; the owner of an account (a session, a user, the
 * service) asserts at its own end that nothing is held any more. The functions are inline because
 * every record has several charges.
 */
#ifndef ESM1NV_CHARGE_H
#define ESM1NV_CHARGE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define ACCOUNT_UNLIMITED UINT64_MAX

struct account {
    uint64_t held;
    uint64_t limit; /* charge_take() keeps `held` at or below it */
};

/* Null value: {0}, nothing is charged. The accounts must live until the charge is given back. */
struct charge {
    struct account *first, *second; /* the second may be NULL */
    uint64_t amount;
};

static inline bool account_has_room(const struct account *account, uint64_t amount) {
    return account->held <= account->limit && amount <= account->limit - account->held;
}

/* Adds `amount`, which is not 0, to both accounts, whatever their limits are. The charge must be
 * null or given back. */
static inline void charge_impose(struct charge *charge, uint64_t amount, struct account *first,
                                 struct account *second) {
    assert(charge->amount == 0 && amount > 0);
    *charge = (struct charge){.first = first, .second = second, .amount = amount};
    first->held += amount;
    if (second)
        second->held += amount;
}

/* The same, unless an account would exceed its limit: then returns false and changes nothing. */
static inline bool charge_take(struct charge *charge, uint64_t amount, struct account *first,
                               struct account *second) {
    if (!account_has_room(first, amount) || (second && !account_has_room(second, amount)))
        return false;
    charge_impose(charge, amount, first, second);
    return true;
}

/* Does nothing when the charge is null or was given back already. */
static inline void charge_give_back(struct charge *charge) {
    if (charge->amount == 0)
        return;
    assert(charge->first->held >= charge->amount);
    charge->first->held -= charge->amount;
    if (charge->second) {
        assert(charge->second->held >= charge->amount);
        charge->second->held -= charge->amount;
    }
    charge->amount = 0;
}

#endif
