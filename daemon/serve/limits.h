/* SPDX-License-Identifier: Apache-2.0
 *
 * The limits on what clients may use, from the command line.
 */
#ifndef ESM1NV_LIMITS_H
#define ESM1NV_LIMITS_H

#include <stdint.h>

/* Connections beyond the limits on clients, so that status, stop and refusals still get through. */
#define LIMITS_SPARE_CONNECTIONS 64u
#define LIMITS_SPARE_CONNECTIONS_PER_USER 16u

struct limits {
    unsigned clients;
    unsigned clients_per_user;
    uint64_t pinned_per_user; /* bytes */
    uint64_t queued_per_user; /* residues */
    uint64_t ring_size;       /* bytes of the largest ring accepted */
};

#endif
