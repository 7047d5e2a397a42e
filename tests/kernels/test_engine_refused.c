/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the CPU engine (on the model named by the argument) where the system refuses something:
 * each allocation, thread and descriptor in turn fails once. Every time there is a message and an
 * exit code, no engine, and nothing is left behind. The linker wraps the functions that can refuse.
 */
#include "daemon/engine/chooser.h"
#include "tests/check.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

#define THREADS 3
#define CALLS_MAX 100

static atomic_int calls, fatal; /* calls so far, and which one fails; 0: none */
static atomic_int living;       /* pieces of memory taken and not freed */
static atomic_bool refused;

static bool refuse(void) {
    if (atomic_fetch_add(&calls, 1) + 1 != atomic_load(&fatal))
        return false;
    atomic_store(&refused, true);
    return true;
}

static void *count(void *memory) {
    atomic_fetch_add(&living, memory != NULL);
    return memory;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t number, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *memory);
int __real_eventfd(unsigned value, int flags);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t number, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *memory);
int __wrap_eventfd(unsigned value, int flags);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);

void *__wrap_malloc(size_t size) {
    return refuse() ? NULL : count(__real_malloc(size));
}

void *__wrap_calloc(size_t number, size_t size) {
    return refuse() ? NULL : count(__real_calloc(number, size));
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return refuse() ? NULL : count(__real_aligned_alloc(alignment, size));
}

void __wrap_free(void *memory) {
    atomic_fetch_sub(&living, memory != NULL);
    __real_free(memory);
}

int __wrap_eventfd(unsigned value, int flags) {
    errno = EMFILE;
    return refuse() ? -1 : __real_eventfd(value, flags);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument) {
    return refuse() ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
}

/* Entries of a directory of /proc/self: threads or descriptors. */
static int entries(const char *path) {
    DIR *directory = opendir(path);
    int number = 0;
    while (directory && readdir(directory))
        number++;
    if (directory)
        closedir(directory);
    return number;
}

/* A thread that was joined may still be listed for a moment. */
static bool threads_left(int before) {
    for (int i = 0; i < TEST_PATIENCE * 1000 && entries("/proc/self/task") > before; i++)
        usleep(1000);
    return entries("/proc/self/task") > before;
}

/* Opens the engine with call `number` failing; returns whether there was such a call. */
static bool open_refused(const struct model *model, enum precision precision, int number) {
    struct engine_options options = {precision, THREADS, NULL, model->config.positions};
    struct engine *engine = NULL;
    struct error error = {0};
    int memory = atomic_load(&living), threads = entries("/proc/self/task");
    int descriptors = entries("/proc/self/fd");
    atomic_store(&refused, false);
    atomic_store(&calls, 0);
    atomic_store(&fatal, number);
    int result = cpu_engine_table.open(&engine, model, &options, &error);
    atomic_store(&fatal, 0);
    bool failed = atomic_load(&refused);
    CHECK(result == (failed ? -1 : 0) && (engine == NULL) == failed, "call %d: result %d", number,
          result);
    CHECK(!failed || (error.status == EX_SOFTWARE && strlen(error.text) > 10),
          "call %d: status %d, '%s'", number, error.status, error.text);
    cpu_engine_table.close(engine);
    CHECK(atomic_load(&living) == memory, "call %d: %d pieces of memory for %d", number,
          atomic_load(&living), memory);
    CHECK(entries("/proc/self/fd") == descriptors, "call %d: a descriptor is left", number);
    CHECK(!threads_left(threads), "call %d: a thread is left", number);
    return failed;
}

/* At least: engine, encoder, team, its members, its threads, weights, layers, a buffer for each
 * packing thread, workspaces and their memory, the descriptor, the engine's thread. */
static void test_refused(const struct model *model, enum precision precision) {
    int number = 1;
    while (number < CALLS_MAX && open_refused(model, precision, number))
        number++;
    CHECK(number - 1 >= 10 + 2 * THREADS - 1 && number < CALLS_MAX, "%d calls", number - 1);
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
