/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the CPU engine (on the model named by the argument) where the system refuses something:
 * each allocation, thread and descriptor in turn fails once. Every time there is a message and an
 * exit code, no engine, and nothing is left behind. The linker wraps the functions that can refuse.
 */
#include "daemon/engine/chooser.h"
#include "tests/check.h"
#include "tests/lib/refuse.h"

#include <string.h>
#include <sysexits.h>

#define THREADS 3
#define CALLS_MAX 100

/* Opens the engine with call `number` failing; returns whether there was such a call. */
static bool open_refused(const struct model *model, enum precision precision, unsigned number) {
    struct engine_options options = {precision, THREADS, NULL, model->config.positions};
    struct engine *engine = NULL;
    struct error error = {0};
    int memory = atomic_load(&refuse_alive);
    unsigned threads = proc_entries("task");
    unsigned descriptors = proc_entries("fd");
    refuse_call(number);
    int result = cpu_engine_table.open(&engine, model, &options, &error);
    bool failed = atomic_load(&refuse_calls) >= number;
    atomic_store(&refuse_at, 0);
    CHECK(result == (failed ? -1 : 0) && (engine == NULL) == failed, "call %u: result %d", number,
          result);
    CHECK(!failed || (error.status == EX_SOFTWARE && strlen(error.text) > 10),
          "call %u: status %d, '%s'", number, error.status, error.text);
    cpu_engine_table.close(engine);
    CHECK(atomic_load(&refuse_alive) == memory, "call %u: %d pieces of memory for %d", number,
          atomic_load(&refuse_alive), memory);
    CHECK(proc_entries("fd") == descriptors, "call %u: a descriptor is left", number);
    CHECK(refuse_threads_are(threads), "call %u: a thread is left", number);
    return failed;
}

/* At least: engine, encoder, team, its members, its threads, weights, layers, a buffer for each
 * packing thread, workspaces and their memory, the descriptor, the engine's thread. */
static void test_refused(const struct model *model, enum precision precision) {
    unsigned number = 1;
    while (number < CALLS_MAX && open_refused(model, precision, number))
        number++;
    CHECK(number - 1 >= 10 + 2 * THREADS - 1 && number < CALLS_MAX, "%u calls", number - 1);
}

static void *nothing(void *argument) {
    return argument;
}

/* A sanitizer's own thread begins with a program's first. */
static void first_thread(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL) == 0)
        pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    struct model *model;
    struct error error = {0};
    first_thread();
    refuse_kinds = REFUSE_MEMORY | REFUSE_THREADS | REFUSE_EVENTS;
    test_case("arguments");
    CHECK(argc == 2, "usage: test_engine_refused MODEL");
    if (argc != 2 || model_open(&model, argv[1], &error) < 0) {
        CHECK(false, "no model: %s", error.text);
        return test_done();
    }
    test_case("f32: what is refused while opening is said, and nothing stays");
    test_refused(model, PRECISION_F32);
    test_case("bf16: what is refused while opening is said, and nothing stays");
    test_refused(model, PRECISION_BF16);
    model_destroy(model);
    return test_done();
}
