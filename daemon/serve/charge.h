/* SPDX-License-Identifier: Apache-2.0
 *
 * What clients make the daemon hold (connections, bytes, residues that wait) is counted in
 * accounts of the one who holds it. A charge is one entry in one or two accounts, and lies in the
 * record or session that it is made for, which gives it back at its end. The owner of an account
 * asserts at its own end that nothing is held any more.
 */
#ifndef ESM1NV_CHARGE_H
#define ESM1NV_CHARGE_H

#include <stdbool.h>
#include <stdint.h>

#define ACCOUNT_UNLIMITED UINT64_MAX

struct account {
    uint64_t held;
    uint64_t limit; /* the most that charge_take() makes it hold */
};

/* Null value: {0}, nothing is taken. The accounts must live until it is given back. */
struct charge {
    struct account *first, *second; /* the second may be NULL */
    uint64_t amount;
};

/* Enters `amount`, which is not 0, in both accounts, unless one of them would exceed its limit:
 * then it returns false and has changed nothing. The charge must not be taken already. */
bool charge_take(struct charge *charge, uint64_t amount, struct account *first,
                 struct account *second);

/* The same whatever the limits are. */
void charge_impose(struct charge *charge, uint64_t amount, struct account *first,
                   struct account *second);

/* Does nothing when nothing is taken, or was given back already. */
void charge_give_back(struct charge *charge);

#endif
