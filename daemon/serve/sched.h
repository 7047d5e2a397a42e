/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is served next: pure bookkeeping over records that wait, without I/O and without a clock.
 * Users share the engine by deficit round robin counted in residues, and the clients of a user
 * share its part in the same way. The first record of a client that was idle goes first, so that a
 * small request never waits behind the backlog of a bulk stream; its residues count all the same,
 * so nobody gains by pausing.
 *
 * Clients may be of several engines (models). All stand in the same rotations, so that a user's
 * share does not grow by having clients of two; each batch is for one engine only.
 */
#ifndef ESM1NV_SCHED_H
#define ESM1NV_SCHED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* Residues a user or client may take before the next one's turn. */
#define SCHED_QUANTUM 512

/* Residues that a user's newcomers may take beyond its turn; it pays them back by waiting. */
#define SCHED_DEBT 2048

/* How long a batch should take while several clients wait. */
#define SCHED_BATCH_SECONDS 0.05

/* A batch with newcomers takes records of others only up to the budget divided by this: newcomers
 * have their results soon, and the others lose next to nothing. */
#define SCHED_NEWCOMER_PART 4

/* How much work may be queued in the engine behind the batch that runs, where no newcomer can
 * overtake it: just enough that the engine need not wait for the next batch. */
#define SCHED_AHEAD_SECONDS 0.02

/* One record that waits; the caller embeds it. */
struct sched_record {
    struct sched_record *next;
    uint32_t tokens;   /* what it takes of a batch */
    uint32_t residues; /* what it costs its user and client */
};

/* One competitor of a rotation: a user among users, or a client among its user's clients. */
struct sched_flow {
    TAILQ_ENTRY(sched_flow) link;
    bool rotates;     /* is in its rotation */
    int64_t deficit;  /* residues it may still take in this turn; negative: owed */
    uint64_t waiting; /* records (client) or clients with records (user) */
};

TAILQ_HEAD(sched_rotation, sched_flow);

struct sched_user {
    struct sched_flow flow;
    struct sched_rotation clients;
};

/* An engine, on which the records of some clients run; the caller embeds it. */
struct sched_engine {
    uint32_t budget_min, budget_max; /* tokens of a batch */
    double rate;                     /* tokens a second lately; 0: not known yet */
};

struct sched_client {
    struct sched_flow flow;
    struct sched_engine *engine; /* set by the caller before the first record */
    TAILQ_ENTRY(sched_client) newcomer_link;
    bool is_newcomer;
    struct sched_user *user;
    struct sched_record *first, **last;
    uint64_t came; /* number of the batch that took it on as a newcomer */
};

TAILQ_HEAD(sched_newcomers, sched_client);

struct sched {
    struct sched_rotation users;
    struct sched_newcomers newcomers; /* clients that were idle, and were not served since */
    unsigned waiting_clients;
    uint64_t waiting_residues;
    uint64_t batches; /* made so far */
};

void sched_init(struct sched *sched);

/* budget_min is the tokens of the longest record: a newcomer may have to wait for such a record in
 * any case, and smaller batches would cost throughput. */
void sched_engine_init(struct sched_engine *engine, uint32_t budget_min, uint32_t budget_max);
void sched_user_init(struct sched_user *user);
void sched_client_init(struct sched_client *client, struct sched_user *user);

/* Queues a record behind the client's other ones. */
void sched_admit(struct sched *sched, struct sched_client *client, struct sched_record *record);

/* Forgets the client; returns its queued records as a list, for the caller to free. */
struct sched_record *sched_remove_client(struct sched *sched, struct sched_client *client);

/* Forgets a user that has no clients any more. */
void sched_remove_user(struct sched *sched, struct sched_user *user);

/* The engine of the client whose turn it is, or NULL when nothing waits. */
struct sched_engine *sched_turn(struct sched *sched);

/* Takes records for that engine, in the order they are to run, until its token budget or `capacity`
 * is reached, it is the turn of another engine's client, or nothing waits. Returns how many. */
unsigned sched_next_batch(struct sched *sched, struct sched_record **records, unsigned capacity);

/* The tokens of the engine's next batch: the largest, or less when several clients wait. */
uint32_t sched_budget(const struct sched *sched, const struct sched_engine *engine);

/* Whether another batch may be made while this many tokens are in flight in the engine. */
bool sched_runs_ahead(const struct sched_engine *engine, uint32_t tokens);

/* Learns the engine's rate from how long a batch took. */
void sched_observe(struct sched_engine *engine, uint32_t tokens, double seconds);

#endif
