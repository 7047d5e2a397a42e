/* SPDX-License-Identifier: Apache-2.0
 *
 * How tests steer the emulation of CUDA. What is set here can also be set by environment variables,
 * which are read at the first call into CUDA and again by emulation_reset():
 *
 *     EMULATION_ORDER=forward|backward|rotated
 *     EMULATION_DEVICES=2           0: no device; none: no driver
 *     EMULATION_SM=80               of every device
 *     EMULATION_MEMORY=1048576      bytes of every device
 *     EMULATION_EPILOGUES=all|bias|none|nothing
 *     EMULATION_FAIL=cudaMalloc:3:2[:sticky[:RESETS]]     as emulation_fail
 *
 * Misuse of CUDA (a copy out of bounds, a divergent barrier, ...) ends the program with one line on
 * stderr and exit status EMULATION_EXIT.
 */
#ifndef EMULATION_H
#define EMULATION_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EMULATION_EXIT 99
#define EMULATION_MAX_DEVICES 8
#define EMULATION_NO_DRIVER (-1)

/* In which order the threads of a block, the blocks, the nodes of a graph, and streams run. Of
 * streams, forward does only what is waited for, as late as possible; backward does everything else
 * first; rotated does everything as soon as it is queued. */
enum emulation_order { EMULATION_FORWARD, EMULATION_BACKWARD, EMULATION_ROTATED };

enum emulation_epilogues {
    EMULATION_EPILOGUES_ALL,
    EMULATION_EPILOGUES_BIAS,   /* no GELU */
    EMULATION_EPILOGUES_NONE,   /* only the plain product */
    EMULATION_EPILOGUES_NOTHING /* cuBLASLt knows no algorithm for anything */
};

/* Goes back to one device (sm 80, 2 multiprocessors, 1 GiB) and to nothing that fails, and then
 * follows the environment. Everything that the program made must have been freed before. */
void emulation_reset(void);

void emulation_set_order(enum emulation_order order);
void emulation_set_epilogues(enum emulation_epilogues epilogues);
void emulation_set_device_count(int count);
/* sm: 70, 75, 80, 86, 90; memory: bytes. What is 0 or NULL stays as it is. */
void emulation_set_device(int device, int sm, size_t memory, const char *name);

/* Lets a call fail with `error` the nth time from now on, 1 being the next. `name` is that of a
 * function (for those of cublasLt the error is a cublasStatus_t), "launch" for a kernel that is
 * queued, "kernel" for one that runs, or NULL for whatever comes (then cublasLt says
 * CUBLAS_STATUS_EXECUTION_FAILED). A sticky error comes from every later call too that concerns the
 * device, until a cudaDeviceReset() after `resets` more of these have failed. Several failures may
 * wait. */
void emulation_fail(const char *name, unsigned nth, int error, bool sticky, unsigned resets);

/* Returns how often a function (NULL: any) has been called since the start or emulation_reset(). */
unsigned emulation_calls(const char *name);

/* Returns number `index` of the functions called since then, in the order of their names; NULL past
 * the last. "launch" and "kernel" count as functions. The name is valid until emulation_reset(). */
const char *emulation_called(unsigned index);

/* Returns how many allocations, streams, events, graphs, cuBLASLt handles and descriptions are not
 * freed. */
size_t emulation_live(void);

#ifdef __cplusplus
}
#endif
#endif
