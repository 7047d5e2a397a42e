/* SPDX-License-Identifier: Apache-2.0
 *
 * Deficit round robin on two levels. A flow is served while its deficit is positive and may
 * overdraw it by its last record; at the front of its rotation with nothing left, it gets one
 * quantum and goes to the end. A flow that runs empty leaves the rotation only when its debt is
 * paid. A client with nothing waiting that is not in debt is a newcomer with its next record: it
 * need not wait for its user's turn, as long as the user's debt is small.
 */
#include "daemon/serve/sched.h"
#include "daemon/base/container_of.h"

#include <stddef.h>

static void flow_join(struct sched_flow *flow, struct sched_rotation *rotation) {
    if (flow->rotates)
        return;
    flow->deficit = SCHED_QUANTUM;
    flow->rotates = true;
    TAILQ_INSERT_TAIL(rotation, flow, link);
}

static void flow_leave(struct sched_flow *flow, struct sched_rotation *rotation) {
    if (flow->rotates)
        TAILQ_REMOVE(rotation, flow, link);
    flow->rotates = false;
}

/* The flow whose turn it is, or NULL when none has anything that waits. */
static struct sched_flow *rotation_current(struct sched_rotation *rotation) {
    struct sched_flow *flow;
    while ((flow = TAILQ_FIRST(rotation))) {
        if (flow->deficit > 0 && flow->waiting)
            return flow;
        if (flow->deficit > 0) {
            flow_leave(flow, rotation);
            continue;
        }
        flow->deficit += SCHED_QUANTUM;
        TAILQ_REMOVE(rotation, flow, link);
        TAILQ_INSERT_TAIL(rotation, flow, link);
    }
    return NULL;
}

void sched_init(struct sched *sched) {
    *sched = (struct sched){0};
    TAILQ_INIT(&sched->users);
    TAILQ_INIT(&sched->newcomers);
}

void sched_engine_init(struct sched_engine *engine, uint32_t budget_min, uint32_t budget_max) {
    *engine = (struct sched_engine){.budget_min = budget_min, .budget_max = budget_max};
}

void sched_user_init(struct sched_user *user) {
    *user = (struct sched_user){0};
    TAILQ_INIT(&user->clients);
}

void sched_client_init(struct sched_client *client, struct sched_user *user) {
    *client = (struct sched_client){.user = user};
    client->last = &client->first;
}

/* A user that joins the rotation owes nothing. Nor do its clients, which are all idle. */
static void user_forget(struct sched_user *user) {
    struct sched_flow *flow;
    while ((flow = TAILQ_FIRST(&user->clients)))
        flow_leave(flow, &user->clients);
}

void sched_admit(struct sched *sched, struct sched_client *client, struct sched_record *record) {
    record->next = NULL;
    *client->last = record;
    client->last = &record->next;
    sched->waiting_residues += record->residues;
    if (!client->user->flow.rotates)
        user_forget(client->user);
    if (client->flow.waiting++ == 0) {
        client->user->flow.waiting++;
        sched->waiting_clients++;
        client->is_newcomer = !client->flow.rotates || client->flow.deficit > 0;
        if (client->is_newcomer)
            TAILQ_INSERT_TAIL(&sched->newcomers, client, newcomer_link);
    }
    flow_join(&client->flow, &client->user->clients);
    flow_join(&client->user->flow, &sched->users);
}

static void forget_newcomer(struct sched *sched, struct sched_client *client) {
    if (client->is_newcomer)
        TAILQ_REMOVE(&sched->newcomers, client, newcomer_link);
    client->is_newcomer = false;
}

static void client_is_empty(struct sched *sched, struct sched_client *client) {
    client->last = &client->first;
    client->user->flow.waiting--;
    sched->waiting_clients--;
}

struct sched_record *sched_remove_client(struct sched *sched, struct sched_client *client) {
    struct sched_record *records = client->first;
    for (struct sched_record *record = records; record; record = record->next)
        sched->waiting_residues -= record->residues;
    if (records)
        client_is_empty(sched, client);
    client->first = NULL;
    client->flow.waiting = 0;
    forget_newcomer(sched, client);
    flow_leave(&client->flow, &client->user->clients);
    return records;
}

void sched_remove_user(struct sched *sched, struct sched_user *user) {
    flow_leave(&user->flow, &sched->users);
}

static struct sched_client *current_client(struct sched *sched) {
    struct sched_client *newcomer;
    while ((newcomer = TAILQ_FIRST(&sched->newcomers))) {
        if (newcomer->user->flow.deficit > -SCHED_DEBT)
            return newcomer;
        forget_newcomer(sched, newcomer); /* it waits for its turn, as all others do */
    }
    struct sched_flow *flow = rotation_current(&sched->users);
    if (flow)
        flow = rotation_current(&container_of(flow, struct sched_user, flow)->clients);
    return flow ? container_of(flow, struct sched_client, flow) : NULL;
}

static struct sched_record *client_take(struct sched *sched, struct sched_client *client) {
    struct sched_record *record = client->first;
    if (client->is_newcomer)
        client->came = sched->batches;
    forget_newcomer(sched, client);
    client->first = record->next;
    client->flow.deficit -= record->residues;
    client->user->flow.deficit -= record->residues;
    sched->waiting_residues -= record->residues;
    if (--client->flow.waiting == 0)
        client_is_empty(sched, client);
    return record;
}

struct sched_engine *sched_turn(struct sched *sched) {
    struct sched_client *client = current_client(sched);
    return client ? client->engine : NULL;
}

unsigned sched_next_batch(struct sched *sched, struct sched_record **records, unsigned capacity) {
    struct sched_engine *engine = sched_turn(sched);
    uint32_t budget = engine ? sched_budget(sched, engine) : 0, tokens = 0;
    bool newcomers = false;
    unsigned count = 0;
    struct sched_client *client;
    sched->batches++;
    while (count < capacity && (client = current_client(sched))) {
        bool backlog = !client->is_newcomer && client->came != sched->batches;
        if (newcomers && backlog)
            budget = sched_budget(sched, engine) / SCHED_NEWCOMER_PART;
        if (client->engine != engine || (count > 0 && tokens + client->first->tokens > budget))
            break; /* it keeps its turn, and is the first of the next batch */
        newcomers |= client->is_newcomer;
        records[count] = client_take(sched, client);
        tokens += records[count++]->tokens;
    }
    return count;
}

uint32_t sched_budget(const struct sched *sched, const struct sched_engine *engine) {
    double tokens = engine->rate * SCHED_BATCH_SECONDS;
    if (sched->waiting_clients < 2 || engine->rate <= 0 || tokens >= engine->budget_max)
        return engine->budget_max;
    return tokens > engine->budget_min ? (uint32_t)tokens : engine->budget_min;
}

bool sched_runs_ahead(const struct sched_engine *engine, uint32_t tokens) {
    return tokens <= engine->rate * SCHED_AHEAD_SECONDS;
}

void sched_observe(struct sched_engine *engine, uint32_t tokens, double seconds) {
    if (seconds <= 0)
        return;
    double rate = tokens / seconds;
    /* Most of a batch that is over at once was fixed cost, so it does not show that the engine
     * became slower. */
    if (seconds < SCHED_BATCH_SECONDS / 8 && rate < engine->rate)
        return;
    engine->rate = engine->rate > 0 ? 0.75 * engine->rate + 0.25 * rate : rate;
}
