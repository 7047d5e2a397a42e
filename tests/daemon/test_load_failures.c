/* SPDX-License-Identifier: Apache-2.0
 *
 * What a load on the CPU needs of the system fails, each call once: memory, threads, the eventfd.
 * It must say so, and leave neither a thread nor a descriptor (nor, under ASan, memory) behind:
 * such a load may have been a reload, beside a model that is served.
 * Usage: test_load_failures MODEL.nemo
 */
#include "daemon/options.h"
#include "daemon/serve/background.h"
#include "tests/check.h"
#include "tests/lib/refuse.h"

#include <errno.h>
#include <string.h>

#define CALLS_MAX 20000

/* Returns whether it was the last call there is. */
static bool load_with_failure(const struct options *options, unsigned number) {
    struct generation *generation;
    struct error error = {0};
    int result;

    refuse_call(number);
    result = generation_load(&generation, &options->load, &options->limits, &error);
    atomic_store(&refuse_at, 0);
    if (result == 0) {
        CHECK(number == 0 || refuse_calls < number, "call %u of %u failed, and nothing came of it",
              number, refuse_calls);
        generation_close(generation);
        return true;
    }
    CHECK(!generation && error.status != 0, "call %u: half a generation", number);
    CHECK(strlen(error.text) > 10, "call %u: '%s'", number, error.text);
    return false;
}

/* Each of its calls needs two things of the system. Without a thread, closing is done at once. */
static void test_background(const struct options *options) {
    unsigned threads = proc_entries("task");
    struct background *background;
    struct generation *generation;
    struct error error;

    test_case("a background without memory, threads or an eventfd");
    for (unsigned number = 1; number <= 2; number++) {
        refuse_call(number);
        CHECK(background_create(&background) < 0 && !background, "call %u of creating", number);
    }
    refuse_call(0);
    CHECK(background_create(&background) == 0, "nothing is refused");
    int alive = refuse_alive;
    for (unsigned number = 1; number <= 2; number++) {
        refuse_call(number);
        int result = background_load(background, &options->load, &options->limits);
        CHECK(result == (number == 1 ? -ENOMEM : -EAGAIN), "call %u of loading: %d", number,
              result);
        CHECK(background_take(background, &generation, &error) == 1, "nothing was loaded");
        CHECK(refuse_alive == alive, "call %u of loading: memory is left", number);
    }
    for (unsigned number = 1; number <= 2; number++) {
        refuse_call(0);
        CHECK(generation_load(&generation, &options->load, &options->limits, &error) == 0, "load");
        refuse_call(number);
        background_close(background, generation);
        CHECK(refuse_threads_are(threads), "call %u of closing: a thread is left", number);
    }
    CHECK(background_destroy(background, 0), "something is under way");
}

int main(int argc, char **argv) {
    struct options options;
    struct error error;
    unsigned threads, descriptors, number = 0;

    test_case("each failure is told, and leaves nothing behind");
    CHECK(argc == 2, "usage: test_load_failures MODEL.nemo");
    daemon_options_parse(&options, 1, argv, &error);
    options.load.model = argv[1];
    options.load.threads = 3;
    options.load.backend = "cpu";
    refuse_kinds = REFUSE_MEMORY | REFUSE_THREADS | REFUSE_EVENTS;
    threads = proc_entries("task");
    CHECK(load_with_failure(&options, 0), "it does not load at all");
    CHECK(refuse_threads_are(threads), "a thread is left");
    descriptors = proc_entries("fd");
    while (number < CALLS_MAX && !load_with_failure(&options, ++number)) {
        CHECK(refuse_threads_are(threads), "call %u: a thread is left", number);
        CHECK(proc_entries("fd") == descriptors, "call %u: a descriptor is left", number);
    }
    printf("# %u calls\n", number - 1);
    CHECK(number > 10 && number < CALLS_MAX, "only %u calls were counted", number);
    test_background(&options);
    return test_done();
}
