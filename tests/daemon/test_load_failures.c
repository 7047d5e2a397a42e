/* SPDX-License-Identifier: Apache-2.0
 *
 * What a load on the CPU needs of the system fails, each call once: memory, threads, the eventfd.
 * It must say so, and leave neither a thread nor a descriptor (nor, under ASan, memory) behind:
 * such a load may have been a reload, beside a model that is served.
 * Usage: test_load_failures MODEL.nemo
 */
#include "daemon/options.h"
#include "tests/check.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CALLS_MAX 20000

static unsigned calls, fails_at; /* the call with this number fails; 0: none */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);

/* Members of the engine's team allocate too. */
static bool fails(void) {
    return __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) == fails_at;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    return fails() ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument) {
    return fails() ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
}

int __wrap_eventfd(unsigned count, int flags) {
    if (!fails())
        return __real_eventfd(count, flags);
    errno = EMFILE;
    return -1;
}

static unsigned entries(const char *path) {
    DIR *folder = opendir(path);
    unsigned count = 0;

    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

/* A thread that was joined may still be listed for a moment. */
static bool threads_are(unsigned wanted) {
    for (unsigned i = 0; i < TEST_PATIENCE * 1000 && entries("/proc/self/task") != wanted; i++)
        usleep(1000);
    return entries("/proc/self/task") == wanted;
}

/* Returns whether it was the last call there is. */
static bool load_with_failure(const struct options *options, unsigned number) {
    struct generation *generation;
    struct error error = {0};
    int result;

    calls = 0;
    fails_at = number;
    result = generation_load(&generation, &options->load, &options->limits, &error);
    fails_at = 0;
    if (result == 0) {
        CHECK(number == 0 || calls < number, "call %u of %u failed, and nothing came of it", number,
              calls);
        generation_close(generation);
        return true;
    }
    CHECK(!generation && error.status != 0, "call %u: half a generation", number);
    CHECK(strlen(error.text) > 10, "call %u: '%s'", number, error.text);
    return false;
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
    threads = entries("/proc/self/task");
    CHECK(load_with_failure(&options, 0), "it does not load at all");
    CHECK(threads_are(threads), "a thread is left");
    descriptors = entries("/proc/self/fd");
    while (number < CALLS_MAX && !load_with_failure(&options, ++number)) {
        CHECK(threads_are(threads), "call %u: a thread is left", number);
        CHECK(entries("/proc/self/fd") == descriptors, "call %u: a descriptor is left", number);
    }
    printf("# %u calls\n", number - 1);
    CHECK(number > 10 && number < CALLS_MAX, "only %u calls were counted", number);
    return test_done();
}
