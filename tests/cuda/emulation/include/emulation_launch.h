/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: a launch converts its arguments to the kernel's parameters at once, as CUDA does,
 * and queues the kernel with them.
 */
#ifndef EMULATION_LAUNCH_H
#define EMULATION_LAUNCH_H

#include "cuda_runtime_api.h"

#include <functional>
#include <tuple>
#include <utility>

struct emulation_kernel {
    const char *name;
    const void *function;
    dim3 grid, block;
    size_t dynamic_shared;
    std::function<void()> body; /* what each thread runs */
};

/* Checks the configuration and queues it; an error comes from cudaGetLastError. */
void emulation_launch_kernel(emulation_kernel kernel, cudaStream_t stream);

template <typename... P, typename... A>
void emulation_launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block,
                      size_t dynamic_shared, cudaStream_t stream, A &&...arguments) {
    static_assert(sizeof...(P) == sizeof...(A), "a kernel gets as many arguments as it has");
    std::tuple<P...> given(static_cast<P>(std::forward<A>(arguments))...);
    emulation_launch_kernel({name, reinterpret_cast<const void *>(kernel), grid, block,
                             dynamic_shared, [kernel, given]() { std::apply(kernel, given); }},
                            stream);
}

#endif
