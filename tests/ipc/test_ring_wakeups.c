/* SPDX-License-Identifier: Apache-2.0
 *
 * No wake-up is lost between the two sides of a ring. Two threads meet at a barrier for each record
 * and then publish and fall asleep, or release and fall asleep, at the same moment; a bell is a
 * flag that the sleeper watches, so that the kernel's own ordering hides nothing.
 */
#include "ipc/ring.h"
#include "tests/check.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SIZE 65536u

struct meeting {
    struct ring_map map;
    uint64_t rounds;
    bool about_space; /* the producer sleeps on a full ring; else the consumer on an empty one */
    _Alignas(64) _Atomic uint64_t ready;
    _Alignas(64) _Atomic uint64_t go;
    _Alignas(64) _Atomic bool bell;
    _Atomic bool failed;
    uint64_t slept; /* the sleeper's count of bells that it needed */
};

/* One more turn of waiting; false when the other side failed, or this has taken too long. */
static bool keep_waiting(struct meeting *meeting, unsigned *turns, time_t since) {
    if (++*turns % 512 == 0) {
        sched_yield();
        if (time(NULL) - since > TEST_PATIENCE)
            atomic_store(&meeting->failed, true);
    }
    return !atomic_load_explicit(&meeting->failed, memory_order_relaxed);
}

static bool wait_for_round(struct meeting *meeting, _Atomic uint64_t *counter, uint64_t round) {
    time_t since = time(NULL);
    unsigned turns = 0;
    while (atomic_load(counter) < round)
        if (!keep_waiting(meeting, &turns, since))
            return false;
    return true;
}

static bool wait_for_bell(struct meeting *meeting) {
    time_t since = time(NULL);
    unsigned turns = 0;
    meeting->slept++;
    while (!atomic_exchange(&meeting->bell, false))
        if (!keep_waiting(meeting, &turns, since))
            return false;
    return true;
}

static void pause_briefly(unsigned *seed, unsigned most) {
    for (volatile unsigned left = (unsigned)rand_r(seed) % most; left; left--)
        ;
}

/* Publishes one small record, which there is room for. */
static bool publish(struct meeting *meeting, struct ring_producer *producer, unsigned body) {
    void *place;
    uint64_t end;
    if (ring_reserve(producer, sizeof(struct ring_submission), body, &place, &end) != 0)
        return false;
    *(struct ring_submission *)place = (struct ring_submission){.length = body};
    if (ring_publish(producer, end))
        atomic_store(&meeting->bell, true);
    return true;
}

static bool take_and_release(struct meeting *meeting, struct ring_consumer *consumer) {
    struct ring_submission header;
    const uint8_t *body;
    uint64_t end;
    if (ring_take_submission(consumer, &header, &body, &end) != 0)
        return false;
    if (ring_release(consumer, end))
        atomic_store(&meeting->bell, true);
    return true;
}

/* The one that acts and rings: publishes a record, or makes room for one. */
static void *waker_main(void *argument) {
    struct meeting *meeting = argument;
    struct ring_producer producer;
    struct ring_consumer consumer;
    unsigned seed = 5;

    ring_submission_producer(&producer, &meeting->map);
    ring_submission_consumer(&consumer, &meeting->map);
    for (uint64_t round = 1; round <= meeting->rounds; round++) {
        if (!wait_for_round(meeting, &meeting->ready, round))
            break;
        atomic_store(&meeting->go, round);
        pause_briefly(&seed, 128);
        if (round % 4096 == 0) /* some true sleeps, on however few processors */
            usleep(1000);
        if (meeting->about_space ? !take_and_release(meeting, &consumer)
                                 : !publish(meeting, &producer, 16)) {
            atomic_store(&meeting->failed, true);
            break;
        }
    }
    return NULL;
}

/* Takes the record of this round, asleep until it is there. */
static bool sleeper_takes(struct meeting *meeting, struct ring_consumer *consumer) {
    while (!take_and_release(meeting, consumer))
        if (!ring_consumer_sleeps(consumer) && !wait_for_bell(meeting))
            return false;
    return true;
}

/* Puts a record where there was none for it, asleep until there is room. */
static bool sleeper_puts(struct meeting *meeting, struct ring_producer *producer) {
    while (!publish(meeting, producer, SIZE / 2 - 16))
        if (!ring_producer_sleeps(producer) && !wait_for_bell(meeting))
            return false;
    return true;
}

static uint64_t sleeper(struct meeting *meeting) {
    struct ring_producer producer;
    struct ring_consumer consumer;
    uint64_t round = 1;
    unsigned seed = 6;

    ring_submission_producer(&producer, &meeting->map);
    ring_submission_consumer(&consumer, &meeting->map);
    if (meeting->about_space) { /* full from the start */
        publish(meeting, &producer, SIZE / 2 - 16);
        publish(meeting, &producer, SIZE / 2 - 16);
    }
    for (; round <= meeting->rounds; round++) {
        atomic_store(&meeting->ready, round);
        if (!wait_for_round(meeting, &meeting->go, round))
            break;
        pause_briefly(&seed, 32);
        if (meeting->about_space ? !sleeper_puts(meeting, &producer)
                                 : !sleeper_takes(meeting, &consumer))
            break;
    }
    return round - 1;
}

static void test_meeting(bool about_space, uint64_t rounds) {
    static struct meeting meeting;
    pthread_t thread;

    test_case(about_space ? "room made while the producer falls asleep"
                          : "a record published while the consumer falls asleep");
    meeting = (struct meeting){.rounds = rounds, .about_space = about_space};
    close(ring_create(&meeting.map, SIZE, SIZE));
    if (pthread_create(&thread, NULL, waker_main, &meeting) != 0) {
        CHECK(false, "no thread");
        return;
    }
    uint64_t done = sleeper(&meeting);
    pthread_join(thread, NULL);
    CHECK(done == rounds, "stuck in round %llu", (unsigned long long)done + 1);
    CHECK(meeting.slept > 0, "it never slept");
    ring_detach(&meeting.map);
}

int main(int argc, char **argv) {
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    alarm(TEST_LIFETIME);
    test_meeting(false, rounds);
    test_meeting(true, rounds);
    return test_done();
}
