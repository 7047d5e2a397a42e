/* SPDX-License-Identifier: Apache-2.0
 *
 * What a C test needs, in TAP: cases that pass, fail or are skipped. A failed CHECK prints where
 * and what, fails its case and goes on.
 *
 *     int main(void) {
 *         test_case("empty input");
 *         CHECK(f("") == 0, "f returned %d", f(""));
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

static struct {
    char name[160]; /* empty: no case has begun */
    unsigned number;
    unsigned failures; /* in this case */
    bool failed;       /* any case */
} test_state;

static inline void test_case_end(void) {
    if (!test_state.name[0])
        return;
    printf("%s %u - %s\n", test_state.failures ? "not ok" : "ok", test_state.number,
           test_state.name);
    fflush(stdout);
    test_state.name[0] = '\0';
}

static inline void test_case(const char *name) {
    test_case_end();
    snprintf(test_state.name, sizeof test_state.name, "%s", name);
    test_state.number++;
    test_state.failures = 0;
}

/* Reports a case that cannot run here, and why. */
static inline void test_skip(const char *name, const char *reason) {
    test_case_end();
    printf("ok %u - %s # SKIP %s\n", ++test_state.number, name, reason);
}

static inline int test_done(void) {
    test_case_end();
    printf("1..%u\n", test_state.number);
    return test_state.failed ? 1 : 0;
}

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
