/* SPDX-License-Identifier: Apache-2.0
 *
 * Fibers: stacks that a host thread switches between by hand. Sanitizers are told of every switch;
 * to TSan each fiber is a thread of its own, and a switch orders nothing.
 */
#ifndef EMULATION_FIBER_H
#define EMULATION_FIBER_H

#include <stddef.h>

struct fiber {
    void *stack_pointer;
    void *stack; /* NULL: of a host thread that never became a fiber */
    size_t stack_bytes;
    void *fake_stack;     /* ASan's */
    void *tsan_thread;    /* TSan's */
    struct fiber *caller; /* who resumed it last */
    void (*entry)(void);
};

/* Makes a fiber that runs entry(), which must never return, when it is first resumed. Fibers are
 * never freed. */
void fiber_create(struct fiber *fiber, void (*entry)(void));

/* Runs `fiber` until it calls fiber_yield(). `caller` is filled in. */
void fiber_resume(struct fiber *caller, struct fiber *fiber);
void fiber_yield(struct fiber *fiber);

#endif
