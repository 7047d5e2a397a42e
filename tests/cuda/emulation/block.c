/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs kernels. Each thread of a block is a fiber; a fiber goes on until it waits for its warp or
 * its block, and the scheduler resumes it when all that it waits for have come, to the same place
 * in the code. Under TSan only barriers order memory, so races within a block are seen as races,
 * and so are those between blocks: nothing orders them but a kernel's start and end.
 */
#include "core.h"
#include "fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef EMULATION_TSAN
#include <sanitizer/tsan_interface.h>
#else
#define __tsan_acquire(address) ((void)(address))
#define __tsan_release(address) ((void)(address))
#endif

#define LANES 32u
#define MOST_THREADS 1024u
#define MOST_COPIES 512u

enum thread_state { RUNNABLE, AT_WARP, AT_BLOCK, RETURNED };

struct copy {
    void *to;
    const void *from;
    unsigned group;
};

struct thread {
    struct fiber *fiber;
    uint3 index;
    unsigned lane;
    enum thread_state state;
    /* These say what it waits for. */
    const char *name, *file;
    int line;
    unsigned mask;
    struct emulation_payload payload;
    /* These are the copies that are not yet made, oldest first, and the group that is being
     * filled. */
    struct copy *copies;
    unsigned copy_count, group;
};

struct warp {
    struct emulation_payload given[LANES]; /* at the last meeting */
    unsigned meetings;
    char sync[2]; /* what TSan sees barriers as: with one, a late acquire would hide races */
};

static struct fiber fibers[MOST_THREADS];
static struct fiber home;
static struct thread threads[MOST_THREADS];
static struct warp warps[MOST_THREADS / LANES];
static struct thread *running;

static struct {
    const struct kernel_run *run;
    uint3 index;
    uint64_t number;
    unsigned threads;
    unsigned barriers; /* completed */
    unsigned pass;     /* over the threads, for the rotated order */
    char barrier_sync[2], begin_sync, end_sync;
} block;

/* --- What kernels call ----------------------------------------------------------------------- */

uint3 emulation_thread_index(void) {
    return running->index;
}

uint3 emulation_block_index(void) {
    return block.index;
}

uint3 emulation_block_size(void) {
    return (uint3){block.run->block.x, block.run->block.y, block.run->block.z};
}

uint3 emulation_grid_size(void) {
    return (uint3){block.run->grid.x, block.run->grid.y, block.run->grid.z};
}

int emulation_lane(void) {
    return (int)running->lane;
}

int emulation_sm(void) {
    return 10 * block.run->sm;
}

void emulation_require(int sm, const char *what, const char *file, int line) {
    if (emulation_sm() < sm)
        emulation_die("%s:%d: %s needs sm_%d, the device is sm_%d", file, line, what, sm / 10,
                      block.run->sm);
}

static void wait_for(enum thread_state state, const char *name, unsigned mask, const char *file,
                     int line) {
    struct thread *thread = running;
    thread->state = state;
    thread->name = name;
    thread->mask = mask;
    thread->file = file;
    thread->line = line;
    fiber_yield(thread->fiber);
}

void emulation_block_barrier(const char *name, const char *file, int line) {
    char *sync = &block.barrier_sync[block.barriers & 1];
    __tsan_release(sync);
    wait_for(AT_BLOCK, name, 0, file, line);
    __tsan_acquire(sync);
}

static struct warp *own_warp(void) {
    return &warps[(size_t)(running - threads) / LANES];
}

static void meet(const char *name, unsigned mask, const char *file, int line) {
    if (!(mask >> running->lane & 1))
        emulation_die("%s:%d: %s: lane %u is not in its mask %08x", file, line, name, running->lane,
                      mask);
    wait_for(AT_WARP, name, mask, file, line);
}

void emulation_warp_barrier(unsigned mask, const char *file, int line) {
    struct warp *warp = own_warp();
    char *sync = &warp->sync[warp->meetings & 1];
    __tsan_release(sync);
    meet("__syncwarp", mask, file, line);
    __tsan_acquire(sync);
}

unsigned emulation_warp_ballot(const char *name, unsigned mask, bool bit, const char *file,
                               int line) {
    running->payload.bits = bit;
    meet(name, mask, file, line);
    const struct warp *warp = own_warp();
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < LANES; lane++)
        if (mask >> lane & 1)
            ballot |= (unsigned)warp->given[lane].bits << lane;
    return ballot;
}

uint64_t emulation_warp_shuffle(const char *name, unsigned mask, uint64_t bits, int source,
                                const char *file, int line) {
    running->payload.bits = bits;
    meet(name, mask, file, line);
    return mask >> source & 1 ? own_warp()->given[source].bits : UINT64_MAX;
}

const struct emulation_payload *emulation_warp_exchange(const char *name,
                                                        const struct emulation_payload *given,
                                                        const char *file, int line) {
    running->payload = *given;
    meet(name, UINT32_MAX, file, line);
    return own_warp()->given;
}

void emulation_matrix_meet(const void *p, size_t row_bytes, const char *name, const char *file,
                           int line) {
    if ((uintptr_t)p % 32 || row_bytes % 16)
        emulation_die("%s:%d: %s at %p, rows %zu bytes apart: must be multiples of 32 and 16", file,
                      line, name, p, row_bytes);
    meet(name, UINT32_MAX, file, line);
}

/* --- Asynchronous copies --------------------------------------------------------------------- */

void emulation_copy_async(void *shared, const void *global, const char *file, int line) {
    struct thread *thread = running;
    emulation_shared_check(shared, 16, 16, "cp.async", file, line);
    if (global && ((uintptr_t)global % 16 || !memory_on_device(global, 16)))
        emulation_die("%s:%d: cp.async from %p: not 16 aligned bytes of device memory", file, line,
                      global);
    if (!thread->copies)
        thread->copies = malloc(MOST_COPIES * sizeof *thread->copies);
    if (!thread->copies || thread->copy_count == MOST_COPIES)
        emulation_die("%s:%d: more than %u cp.async under way", file, line, MOST_COPIES);
    thread->copies[thread->copy_count++] = (struct copy){shared, global, thread->group};
}

void emulation_copy_commit(void) {
    running->group++;
}

void emulation_copy_wait(unsigned pending) {
    static const char zeros[16];
    struct thread *thread = running;
    unsigned made = 0;
    while (made < thread->copy_count && thread->copies[made].group + pending < thread->group) {
        const struct copy *copy = &thread->copies[made++];
        memcpy(copy->to, copy->from ? copy->from : zeros, 16);
    }
    thread->copy_count -= made;
    for (unsigned i = 0; i < thread->copy_count; i++)
        thread->copies[i] = thread->copies[made + i];
}

/* --- The scheduler --------------------------------------------------------------------------- */

/* Returns which of `count` comes as number i of a turn. */
static unsigned in_order(unsigned i, unsigned count, unsigned turn) {
    switch (block.run->order) {
    case EMULATION_FORWARD:
        return i;
    case EMULATION_BACKWARD:
        return count - 1 - i;
    default:
        return (unsigned)((i + 7 * (uint64_t)turn + block.number) % count);
    }
}

static void thread_main(void) {
    for (;;) {
        struct thread *thread = running;
        __tsan_acquire(&block.begin_sync);
        block.run->body(block.run->user);
        __tsan_release(&block.end_sync);
        thread->state = RETURNED;
        fiber_yield(thread->fiber);
    }
}

static bool same_place(const struct thread *a, const struct thread *b) {
    return a->line == b->line && (a->name == b->name || strcmp(a->name, b->name) == 0) &&
           (a->file == b->file || strcmp(a->file, b->file) == 0);
}

/* Ends the program with a message that says where all threads are, each place once. */
static void report_divergence(void) {
    char text[1024];
    int used = 0;
    unsigned returned = 0;
    for (unsigned i = 0; i < block.threads; i++) {
        const struct thread *thread = &threads[i];
        unsigned alike = 0, before = 0;
        if (thread->state == RETURNED) {
            returned++;
            continue;
        }
        for (unsigned j = 0; j < block.threads; j++)
            if (threads[j].state == thread->state && same_place(&threads[j], thread)) {
                alike++;
                before += j < i;
            }
        if (!before && used < (int)sizeof text - 200)
            used += snprintf(text + used, sizeof text - (size_t)used,
                             "; thread %u and %u more wait in %s at %.100s:%d", i, alike - 1,
                             thread->name, thread->file, thread->line);
    }
    if (returned && used < (int)sizeof text - 50)
        snprintf(text + used, sizeof text - (size_t)used, "; %u have returned", returned);
    emulation_die("kernel %s, block (%u, %u, %u): divergent barrier%s", block.run->name,
                  block.index.x, block.index.y, block.index.z, text);
}

/* Tells whether everyone whom this lane waits for has come; `first` is lane 0 of its warp. */
static bool all_met(const struct thread *thread, const struct thread *first, unsigned lanes) {
    for (unsigned lane = 0; lane < LANES; lane++)
        if (thread->mask >> lane & 1) {
            const struct thread *other = &first[lane];
            if (lane >= lanes || other->state != AT_WARP || other->mask != thread->mask ||
                !same_place(thread, other))
                return false;
        }
    return true;
}

/* Lets those lanes go on that have met. By now all lanes have taken what they got the last time. */
static bool complete_meetings(unsigned warp, unsigned lanes) {
    struct thread *first = &threads[warp * LANES];
    bool any = false;
    for (unsigned lane = 0; lane < lanes; lane++) {
        if (first[lane].state != AT_WARP || !all_met(&first[lane], first, lanes))
            continue;
        unsigned mask = first[lane].mask;
        for (unsigned i = lane; i < lanes; i++)
            if (mask >> i & 1) {
                warps[warp].given[i] = first[i].payload;
                first[i].state = RUNNABLE;
            }
        warps[warp].meetings++;
        any = true;
    }
    return any;
}

/* Runs a warp until all its lanes wait for the block or have returned, or it is stuck. */
static void run_warp(unsigned warp) {
    unsigned first = warp * LANES, lanes = block.threads - first;
    lanes = lanes < LANES ? lanes : LANES;
    do {
        for (unsigned i = 0; i < lanes; i++) {
            struct thread *thread = &threads[first + in_order(i, lanes, block.pass)];
            if (thread->state == RUNNABLE) {
                running = thread;
                fiber_resume(&home, thread->fiber);
            }
        }
        block.pass++;
    } while (complete_meetings(warp, lanes));
}

static bool complete_barrier(void) {
    const struct thread *first = NULL;
    for (unsigned i = 0; i < block.threads; i++) {
        if (threads[i].state == RETURNED)
            continue;
        first = first ? first : &threads[i];
        if (threads[i].state != AT_BLOCK || !same_place(first, &threads[i]))
            report_divergence();
    }
    for (unsigned i = 0; i < block.threads; i++)
        if (threads[i].state == AT_BLOCK)
            threads[i].state = RUNNABLE;
    block.barriers++;
    return first != NULL;
}

/* Which fiber a thread gets changes from block to block, so that TSan takes threads of the same
 * number in neighbouring blocks for different ones. */
static void prepare_threads(void) {
    const dim3 size = block.run->block;
    for (unsigned i = 0; i < block.threads; i++) {
        struct thread *thread = &threads[i];
        struct fiber *fiber = &fibers[(i + block.number) % block.threads];
        if (!fiber->stack)
            fiber_create(fiber, thread_main);
        thread->fiber = fiber;
        thread->index = (uint3){i % size.x, i / size.x % size.y, i / size.x / size.y};
        thread->lane = i % LANES;
        thread->state = RUNNABLE;
        thread->copy_count = 0;
        thread->group = 0;
    }
}

static void run_block(uint64_t number) {
    const dim3 grid = block.run->grid;
    block.index = (uint3){(unsigned)(number % grid.x), (unsigned)(number / grid.x % grid.y),
                          (unsigned)(number / grid.x / grid.y)};
    block.number = number;
    shared_begin();
    prepare_threads();
    __tsan_release(&block.begin_sync);
    unsigned count = (block.threads + LANES - 1) / LANES;
    bool waiting = true;
    while (waiting) {
        for (unsigned i = 0; i < count; i++)
            run_warp(in_order(i, count, block.barriers));
        waiting = complete_barrier();
    }
    shared_end(block.run->name);
}

void emulation_run(const struct kernel_run *run) {
    block.run = run;
    block.threads = run->block.x * run->block.y * run->block.z;
    block.pass = 0;
    uint64_t blocks = (uint64_t)run->grid.x * run->grid.y * run->grid.z;
    shared_prepare(run->dynamic_shared, run->most_shared);
    for (uint64_t i = 0; i < blocks; i++)
        run_block(run->order == EMULATION_BACKWARD ? blocks - 1 - i : i);
    __tsan_acquire(&block.end_sync);
}
