/* SPDX-License-Identifier: Apache-2.0
 *
 * Fibers. A switch saves what the ABI of x86-64 says a callee saves.
 */
#include "fiber.h"

#include "core.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef EMULATION_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef EMULATION_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define STACK_BYTES ((size_t)128 << 10)

static struct fiber *starting; /* whose first resume is under way */

/* This is called on the new stack. */
static void fiber_begin(void) {
    struct fiber *fiber = starting;
#ifdef EMULATION_ASAN
    __sanitizer_finish_switch_fiber(NULL, (const void **)&fiber->caller->stack,
                                    &fiber->caller->stack_bytes);
#endif
    fiber->entry();
    emulation_die("a fiber returned");
}

/* Takes the address of the stack pointer of the one that stops, and the value of the other. */
void fiber_swap(void **from, void *to);
__asm__(".text\n"
        ".globl fiber_swap\n"
        ".hidden fiber_swap\n"
        ".type fiber_swap, @function\n"
        "fiber_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size fiber_swap, . - fiber_swap\n");

/* The stack looks as if fiber_begin were about to be returned to: six registers, its address, and
 * no caller. */
static void context_prepare(struct fiber *fiber) {
    uintptr_t *top = (uintptr_t *)((char *)fiber->stack + fiber->stack_bytes);
    *--top = 0;
    *--top = (uintptr_t)fiber_begin;
    for (int i = 0; i < 6; i++)
        *--top = 0;
    fiber->stack_pointer = top;
}

void fiber_create(struct fiber *fiber, void (*entry)(void)) {
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, guard + STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard, PROT_NONE) < 0)
        emulation_die("no memory for the stack of a fiber");
    *fiber = (struct fiber){.stack = memory + guard, .stack_bytes = STACK_BYTES, .entry = entry};
    context_prepare(fiber);
#ifdef EMULATION_TSAN
    fiber->tsan_thread = __tsan_create_fiber(0);
#endif
}

void fiber_resume(struct fiber *caller, struct fiber *fiber) {
    fiber->caller = caller;
    starting = fiber;
#ifdef EMULATION_TSAN
    caller->tsan_thread = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber->tsan_thread, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef EMULATION_ASAN
    __sanitizer_start_switch_fiber(&caller->fake_stack, fiber->stack, fiber->stack_bytes);
#endif
    fiber_swap(&caller->stack_pointer, fiber->stack_pointer);
#ifdef EMULATION_ASAN
    __sanitizer_finish_switch_fiber(caller->fake_stack, NULL, NULL);
#endif
}

void fiber_yield(struct fiber *fiber) {
#ifdef EMULATION_TSAN
    __tsan_switch_to_fiber(fiber->caller->tsan_thread, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef EMULATION_ASAN
    __sanitizer_start_switch_fiber(&fiber->fake_stack, fiber->caller->stack,
                                   fiber->caller->stack_bytes);
#endif
    fiber_swap(&fiber->stack_pointer, fiber->caller->stack_pointer);
#ifdef EMULATION_ASAN
    __sanitizer_finish_switch_fiber(fiber->fake_stack, (const void **)&fiber->caller->stack,
                                    &fiber->caller->stack_bytes);
#endif
}
