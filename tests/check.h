/* SPDX-License-Identifier: Apache-2.0
 *
 * What a C test needs, in TAP: cases that pass, fail or are skipped. A failed CHECK prints where
 * and what, fails its case and goes on. Cases that need nothing name themselves and run in their
 * order; others begin with test_case(), and end with the next one or with test_done().
 *
 *     TEST("empty input") {
 *         CHECK(f("") == 0, "f returned %d", f(""));
 *     }
 *
 *     int main(void) {
 *         test_run();
 *         return test_done();
 *     }
 */
#ifndef ESM1NV_CHECK_H
#define ESM1NV_CHECK_H

#include <stdbool.h>
#include <stdio.h>

/* Seconds that only a fault uses up, on busy machines and in slow builds too: for what must happen
 * at once, and, with alarm(), for a whole program. */
#define TEST_PATIENCE 300
#define TEST_LIFETIME 1500

/* What TEST() defines. */
struct test_row {
    const char *name;
    void (*run)(void);
    struct test_row *next;
};

static struct {
    struct test_row *rows;
    char name[160]; /* empty: no case has begun */
    unsigned number;
    unsigned failures;   /* in this case */
    bool failed;         /* any case */
    const char *skipped; /* why this case cannot run here */
} test_state;

static inline void test_case_end(void) {
    if (!test_state.name[0])
        return;
    printf("%s %u - %s%s%s\n", test_state.failures ? "not ok" : "ok", test_state.number,
           test_state.name, test_state.skipped ? " # SKIP " : "",
           test_state.skipped ? test_state.skipped : "");
    fflush(stdout);
    test_state.name[0] = '\0';
}

static inline void test_case(const char *name) {
    test_case_end();
    snprintf(test_state.name, sizeof test_state.name, "%s", name);
    test_state.number++;
    test_state.failures = 0;
    test_state.skipped = NULL;
}

/* The case that runs cannot do so here, for a reason that outlives it. */
static inline void test_case_skip(const char *reason) {
    test_state.skipped = reason;
}

/* A case that cannot run here. */
static inline void test_skip(const char *name, const char *reason) {
    test_case(name);
    test_case_skip(reason);
    test_case_end();
}

static inline int test_done(void) {
    test_case_end();
    printf("1..%u\n", test_state.number);
    return test_state.failed ? 1 : 0;
}

static inline void test_add(struct test_row *row) {
    struct test_row **end = &test_state.rows;
    while (*end)
        end = &(*end)->next;
    *end = row;
}

/* Runs what TEST() has defined in this file. */
static inline void test_run(void) {
    for (const struct test_row *row = test_state.rows; row; row = row->next) {
        test_case(row->name);
        row->run();
    }
}

#define TEST(name) TEST_IN(name, __LINE__)
#define TEST_IN(name, line) TEST_DEFINE(name, line) /* with the number of the line */
#define TEST_DEFINE(name, line)                                                                    \
    static void test_in_line_##line(void);                                                         \
    __attribute__((constructor)) static void test_add_line_##line(void) {                          \
        static struct test_row row = {name, test_in_line_##line, NULL};                            \
        test_add(&row);                                                                            \
    }                                                                                              \
    static void test_in_line_##line(void)

/* At most 20 lines a case, so that a broken loop stays readable. */
#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            test_state.failed = true;                                                              \
            if (test_state.failures++ < 20) {                                                      \
                printf("# %s:%d: %s: ", __FILE__, __LINE__, #condition);                           \
                printf(__VA_ARGS__);                                                               \
                printf("\n");                                                                      \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#endif
