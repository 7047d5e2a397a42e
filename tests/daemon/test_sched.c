/* SPDX-License-Identifier: Apache-2.0
 *
 * The scheduler as pure code: shares in residues, newcomers, order, budget, and books that balance
 * under random use. What is fair is computed here from the definition, equal parts of all residues
 * served while everybody had work waiting.
 */
#include "daemon/serve/sched.h"
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#define CLIENTS_MAX 64
#define USERS_MAX 8
#define POSITIONS 512
#define BUDGET 2048
#define CAPACITY (BUDGET / 3 + 1)

struct item {
    struct sched_record record; /* first */
    unsigned client, number;
};

static struct world {
    struct sched sched;
    struct sched_engine engines[2]; /* client c is of engine c % engine_count */
    unsigned engine_count;
    struct sched_user users[USERS_MAX];
    struct sched_client clients[CLIENTS_MAX];
    unsigned user_of[CLIENTS_MAX], user_count, client_count;
    unsigned admitted[CLIENTS_MAX], taken[CLIENTS_MAX];
    uint64_t client_residues[CLIENTS_MAX], user_residues[USERS_MAX];
    uint32_t batch_tokens;      /* of the last batch */
    unsigned seen[CLIENTS_MAX]; /* records of each client in the last batch */
} world;

static uint64_t random_state;

static unsigned random_below(unsigned bound) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((random_state >> 33) % bound);
}

static void client_init(unsigned client) {
    sched_client_init(&world.clients[client], &world.users[world.user_of[client]]);
    world.clients[client].engine = &world.engines[client % world.engine_count];
}

static void world_init(unsigned users, unsigned clients, unsigned engines) {
    world = (struct world){.user_count = users, .client_count = clients, .engine_count = engines};
    sched_init(&world.sched);
    for (unsigned i = 0; i < 2; i++)
        sched_engine_init(&world.engines[i], POSITIONS, BUDGET);
    for (unsigned i = 0; i < users; i++)
        sched_user_init(&world.users[i]);
    for (unsigned i = 0; i < clients; i++) {
        world.user_of[i] = i < users ? i : random_below(users);
        client_init(i);
    }
}

static void admit(unsigned client, uint32_t residues) {
    struct item *item = calloc(1, sizeof *item);

    item->record.residues = residues;
    item->record.tokens = residues + 2 > POSITIONS ? POSITIONS : residues + 2;
    item->client = client;
    item->number = world.admitted[client]++;
    sched_admit(&world.sched, &world.clients[client], &item->record);
}

/* Takes one batch, checks its limits and the order of each client; counts who got what. */
static unsigned run_batch(void) {
    struct sched_record *records[CAPACITY];
    struct sched_engine *engine = sched_turn(&world.sched);
    uint32_t budget = engine ? sched_budget(&world.sched, engine) : 0, tokens = 0;
    unsigned waiting = world.sched.waiting_clients;
    memset(world.seen, 0, sizeof world.seen);
    unsigned count = sched_next_batch(&world.sched, records, CAPACITY);

    CHECK((count > 0) == (waiting > 0), "%u records, %u clients waited", count, waiting);
    for (unsigned i = 0; i < count; i++) {
        struct item *item = (struct item *)records[i];

        tokens += item->record.tokens;
        CHECK(item->number == world.taken[item->client], "client %u: record %u out of order",
              item->client, item->number);
        CHECK(world.clients[item->client].engine == engine, "client %u: on another's engine",
              item->client);
        world.taken[item->client]++;
        world.client_residues[item->client] += item->record.residues;
        world.user_residues[world.user_of[item->client]] += item->record.residues;
        world.seen[item->client]++;
        free(item);
    }
    world.batch_tokens = tokens;
    CHECK(tokens <= budget, "%u tokens in a batch of at most %u", tokens, budget);
    return count;
}

/* On an engine of so many tokens a second; returns the seconds that the batch took. */
static double run_timed_batch(double rate) {
    run_batch();
    double took = world.batch_tokens / rate;
    sched_observe(&world.engines[0], world.batch_tokens, took);
    return took;
}

/* Takes what the client still has waiting. */
static void client_finish(unsigned client) {
    struct sched_record *record = sched_remove_client(&world.sched, &world.clients[client]);

    while (record) {
        struct sched_record *next = record->next;

        world.taken[client]++;
        free(record);
        record = next;
    }
}

static void world_finish(void) {
    for (unsigned i = 0; i < world.client_count; i++) {
        client_finish(i);
        CHECK(world.taken[i] == world.admitted[i], "client %u: %u of %u", i, world.taken[i],
              world.admitted[i]);
    }
    for (unsigned i = 0; i < world.user_count; i++)
        sched_remove_user(&world.sched, &world.users[i]);
    CHECK(world.sched.waiting_residues == 0 && world.sched.waiting_clients == 0, "left over");
}

/* Every client has its own habit of lengths: short, long or mixed. */
static uint32_t length_of(unsigned client) {
    static const unsigned most[] = {30, 512, 512, 1, 120};

    return client % 5 == 1 ? 512 : 1 + random_below(most[client % 5]);
}

static uint32_t any_length(unsigned client) {
    return length_of(client + random_below(5));
}

static uint32_t protein_length(unsigned client) {
    (void)client;
    return 60 + random_below(451);
}

static uint32_t longest(unsigned client) {
    (void)client;
    return POSITIONS;
}

/* Lets each of the first clients have so many records waiting. */
static void refill(unsigned clients, unsigned records, uint32_t (*length)(unsigned client)) {
    for (unsigned i = 0; i < clients; i++)
        while (world.admitted[i] - world.taken[i] < records)
            admit(i, length(i));
}

static double spread(const uint64_t *values, const unsigned *group, unsigned wanted,
                     unsigned count) {
    uint64_t least = UINT64_MAX, most = 0;

    for (unsigned i = 0; i < count; i++) {
        if (group && group[i] != wanted)
            continue;
        least = values[i] < least ? values[i] : least;
        most = values[i] > most ? values[i] : most;
    }
    return most ? (double)(most - least) / (double)most : 0;
}

static void test_shares(unsigned users, unsigned clients, unsigned engines) {
    world_init(users, clients, engines);
    for (unsigned batch = 0; batch < 1500 * engines; batch++) {
        refill(clients, 700, length_of);
        run_batch();
    }
    CHECK(spread(world.user_residues, NULL, 0, users) < 0.05, "%u users, %u clients: %.3f", users,
          clients, spread(world.user_residues, NULL, 0, users));
    for (unsigned user = 0; user < users; user++)
        CHECK(spread(world.client_residues, world.user_of, user, clients) < 0.05,
              "clients of user %u differ by %.3f", user,
              spread(world.client_residues, world.user_of, user, clients));
    world_finish();
}

static void test_newcomer(unsigned users, unsigned clients) {
    world_init(users, clients, 1);
    for (unsigned batch = 0; batch < 40; batch++) {
        refill(clients - 1, 50, longest);
        run_batch();
    }
    admit(clients - 1, 100);
    run_batch();
    CHECK(world.seen[clients - 1] == 1, "the newcomer of %u clients was not in the next batch",
          clients);
    world_finish();
}

/* Against a fake clock: 63 bulk clients of 8 users, an engine of `rate` tokens a second. Who asks
 * for little while a batch runs has its answer when the next one ends, once the bulk clients are no
 * newcomers any more. */
static void test_newcomer_in_time(double rate) {
    double most = SCHED_BATCH_SECONDS > POSITIONS / rate ? SCHED_BATCH_SECONDS : POSITIONS / rate;
    double clock = 0, came = -1;

    world_init(8, CLIENTS_MAX, 1);
    for (unsigned batch = 0; batch < 1000; batch++) {
        refill(CLIENTS_MAX - 1, 50, length_of);
        double took = run_timed_batch(rate);
        clock += took;
        if (came >= 0)
            CHECK(world.seen[CLIENTS_MAX - 1] == 1 && clock - came < 2.2 * most,
                  "at %.0f tokens/s a newcomer waited %.3f s", rate, clock - came);
        came = batch > 200 && batch % 8 == 0 ? clock - took * random_below(100) / 100 : -1;
        if (came < 0)
            continue;
        client_finish(CLIENTS_MAX - 1); /* another one comes */
        client_init(CLIENTS_MAX - 1);
        admit(CLIENTS_MAX - 1, 1 + random_below(64));
    }
    world_finish();
}

/* A user that asks for little, one thing at a time, now and then, is in the next batch nearly
 * always, beside another's bulk stream. */
static void test_interactive(void) {
    unsigned asked = 0, late = 0;

    world_init(2, 2, 1);
    sched_observe(&world.engines[0], 500, 0.1); /* so that a batch is about one bulk record */
    for (unsigned batch = 0; batch < 3000; batch++) {
        bool asks = world.admitted[1] == world.taken[1] && random_below(3) == 0;

        refill(1, 50, any_length);
        if (asks)
            admit(1, 100);
        run_batch();
        asked += asks;
        late += asks && world.seen[1] == 0;
    }
    CHECK(asked > 500 && late * 100 <= asked, "%u of %u waited for more than one batch", late,
          asked);
    world_finish();
}

static int compare_numbers(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Runs `batches` batches of four bulk clients with proteins of 60 to 510 residues, beside a client
 * of another user who asks for 100 residues, waits, and thinks for up to 0.1 s, or does not ask
 * (`waits` NULL). Returns the mean duration of a batch against a fake clock, at so many tokens a
 * second; *count waits. */
static double run_beside_bulk(double rate, unsigned batches, double *waits, unsigned *count) {
    double clock = 0, asked = 0;

    world_init(2, 5, 1);
    for (unsigned i = 0; i < 5; i++)
        world.user_of[i] = i < 4 ? 0 : 1;
    for (unsigned i = 0; i < 5; i++)
        client_init(i);
    for (unsigned batch = 0; batch < batches; batch++) {
        refill(4, 50, protein_length);
        if (waits && asked <= clock && world.admitted[4] == world.taken[4])
            admit(4, 100);
        double took = run_timed_batch(rate);
        clock += took;
        if (!world.seen[4])
            continue;
        waits[(*count)++] = clock - asked;
        asked = clock + 0.001 * random_below(100);
    }
    world_finish();
    return clock / batches;
}

/* On an engine that takes longer for a longest sequence than a batch should take. */
static void test_waits_beside_bulk(void) {
    static double waits[4000];
    unsigned count = 0;
    double batch = run_beside_bulk(4600, 4000, NULL, NULL);

    run_beside_bulk(4600, 4000, waits, &count);
    CHECK(count > 1000, "asked %u times only", count);
    qsort(waits, count, sizeof *waits, compare_numbers);
    CHECK(waits[count / 2] < 1.2 * batch, "the median waits for %.2f batches",
          waits[count / 2] / batch);
    CHECK(waits[count * 99 / 100] < 1.7 * batch, "one of a hundred waits for %.2f batches",
          waits[count * 99 / 100] / batch);
}

/* A user whose clients send a record each when their last ones were taken, or soon after, the same
 * clients or each time others, gets no more than those that always have work waiting. */
static void test_no_gain_by_pausing(unsigned bulk, unsigned clients, bool anew) {
    struct sched_user *user = &world.users[bulk];

    world_init(bulk + 1, bulk + clients, 1);
    for (unsigned client = bulk; client < bulk + clients; client++) {
        world.user_of[client] = bulk;
        client_init(client);
    }
    for (unsigned batch = 0; batch < 2000; batch++) {
        bool asks = user->flow.waiting == 0 && (clients == 1 || random_below(3) == 0);

        refill(bulk, 50, longest);
        for (unsigned client = bulk; asks && client < bulk + clients; client++) {
            if (anew) {
                client_finish(client);
                client_init(client);
            }
            admit(client, 512);
        }
        run_batch();
    }
    CHECK(world.user_residues[bulk] <= world.user_residues[0] + SCHED_DEBT + 512,
          "%u clients%s beside %u: %lu residues against %lu", clients, anew ? ", anew" : "", bulk,
          (unsigned long)world.user_residues[bulk], (unsigned long)world.user_residues[0]);
    if (bulk == 1 && clients == 1 && !anew)
        CHECK(world.taken[1] >= 1990, "the small one was in %u of 2000 batches", world.taken[1]);
    world_finish();
}

TEST("small requests beside a bulk stream of the same user") {
    world_init(1, 20, 1);
    for (unsigned i = 0; i < 1000; i++)
        admit(0, 512);
    run_batch();
    for (unsigned client = 1; client < 20; client++)
        admit(client, 30);
    run_batch();
    for (unsigned client = 1; client < 20; client++)
        CHECK(world.seen[client] == 1, "client %u waits behind the bulk stream", client);
    world_finish();
}

static void expect_budget(uint32_t wanted, const char *why) {
    uint32_t budget = sched_budget(&world.sched, &world.engines[0]);

    CHECK(budget == wanted, "%s: %u, not %u", why, budget, wanted);
}

TEST("the budget follows the engine's rate when several wait") {
    struct sched_engine *engine = &world.engines[0];

    world_init(1, 2, 1);
    expect_budget(BUDGET, "without a rate");
    CHECK(sched_runs_ahead(engine, 0) && !sched_runs_ahead(engine, 1), "ahead without a rate");
    sched_observe(engine, 2000, 0.1); /* 20,000 tokens a second */
    CHECK(sched_runs_ahead(engine, 400) && !sched_runs_ahead(engine, 401), "20 ms are 400 tokens");
    admit(0, 10);
    expect_budget(BUDGET, "one client: no reason for small batches");
    admit(1, 10);
    expect_budget(1000, "50 ms are 1000 tokens");
    for (unsigned i = 0; i < 50; i++)
        sched_observe(engine, 100, 0.1);
    expect_budget(POSITIONS, "a record must fit");
    for (unsigned i = 0; i < 50; i++)
        sched_observe(engine, 2000, 0.001);
    expect_budget(BUDGET, "fast engine");
    for (int i = 0; i < 40; i++)
        sched_observe(engine, 12, 0.0005);
    expect_budget(BUDGET, "small batches on a fast engine");
    sched_observe(engine, 2000, 0);
    expect_budget(BUDGET, "a clock that stands still");
    world_finish();
}

/* Clients come, go and pause at random; nothing is lost and nobody starves. */
static void test_random(unsigned engines) {
    unsigned since[CLIENTS_MAX] = {0};

    world_init(5, 40, engines);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned client = random_below(40);
        for (unsigned i = random_below(6); i > 0; i--)
            admit(client, 1 + random_below(512));
        if (random_below(100) == 0) {
            client_finish(client);
            client_init(client);
        }
        run_batch();
        for (unsigned i = 0; i < 40; i++) {
            bool waits = world.admitted[i] != world.taken[i] && !world.seen[i];

            since[i] = waits ? since[i] + 1 : 0;
            CHECK(since[i] < 60 * SCHED_NEWCOMER_PART, "client %u was passed over %u times", i,
                  since[i]);
        }
    }
    world_finish();
}

int main(void) {
    random_state = 1;
    test_case("shares differ by less than 5 % by user, then by client");
    for (unsigned users = 1; users <= USERS_MAX; users++)
        for (unsigned clients = users; clients <= CLIENTS_MAX; clients = clients * 3 + 1)
            test_shares(users, clients, 1);
    test_shares(8, 64, 1);
    test_case("and so they do when clients are of two engines, of which a batch has one");
    for (unsigned users = 1; users <= USERS_MAX; users++)
        test_shares(users, 3 * users, 2);
    test_shares(8, 64, 2);
    test_case("a newcomer is in the next batch");
    for (unsigned users = 1; users <= USERS_MAX; users++)
        for (unsigned clients = users + 1; clients <= CLIENTS_MAX; clients += 11)
            test_newcomer(users, clients);
    test_case("a newcomer has its answer within a batch's time of its arrival");
    for (double rate = 2000; rate < 3e6; rate *= 8)
        test_newcomer_in_time(rate);
    test_case("one request at a time beside a bulk stream of another user");
    test_interactive();
    test_waits_beside_bulk();
    test_case("no gain by pausing");
    for (unsigned bulk = 1; bulk < USERS_MAX; bulk++)
        for (unsigned clients = 1; clients <= 8; clients++) {
            test_no_gain_by_pausing(bulk, clients, false);
            test_no_gain_by_pausing(bulk, clients, true);
        }
    test_case("books balance under random use");
    test_random(1);
    test_random(2);
    test_run();
    return test_done();
}
