/* SPDX-License-Identifier: Apache-2.0
 *
 * What the runtime's parts in C++ share: devices, work that is queued, and how every function of
 * CUDA begins and ends.
 */
#ifndef EMULATION_STATE_H
#define EMULATION_STATE_H

#include "core.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

/* --- Devices (device.cc) --------------------------------------------------------------------- */

struct device {
    int sm = 80;
    int multiprocessors = 2;
    size_t memory = size_t(1) << 30;
    size_t used = 0;
    std::string name;
    cudaError_t error = cudaSuccess; /* sticky */
    unsigned resets = 0;             /* that fail still */
};

struct world {
    std::mutex lock;
    emulation_order order = EMULATION_FORWARD;
    emulation_epilogues epilogues = EMULATION_EPILOGUES_ALL;
    int device_count = 1;
    device devices[EMULATION_MAX_DEVICES];
};

extern world world;

size_t shared_limit(int sm); /* of a block, when asked for */

/* Every function of the runtime begins with this: it locks, counts the call, and sees whether the
 * call must fail. */
class call {
  public:
    enum needs { NOTHING, DRIVER, DEVICE };
    call(const char *name, needs needs);

    cudaError_t error;
    int device; /* of this host thread */
    std::unique_lock<std::mutex> lock;

    /* Remembers an error for cudaGetLastError(). */
    cudaError_t fail(cudaError_t code);
    cudaError_t done(); /* the device's sticky error, or none */
};

#define CALL(needs)                                                                                \
    class call call(__func__, call::needs);                                                        \
    if (call.error)                                                                                \
    return call.fail(call.error)

/* Tells which error the call must fail with now, by its name, or 0; makes the error stick if it is
 * sticky. */
int fail_now(const char *name, int device);

/* The live handles of one kind, the oldest first. */
template <typename T> struct registry {
    const char *kind;
    std::vector<T *> all;

    T *add(T *handle) {
        all.push_back(handle);
        return handle;
    }

    bool has(const T *handle) const {
        return std::find(all.begin(), all.end(), handle) != all.end();
    }

    /* Ends the program when it is not among them. */
    T *check(T *handle, const char *who) const {
        if (!has(handle))
            emulation_die("%s: %p is not a live %s", who, static_cast<void *>(handle), kind);
        return handle;
    }

    void destroy(T *handle, const char *who) {
        all.erase(std::find(all.begin(), all.end(), check(handle, who)));
        delete handle;
    }

    /* Ends what a reset of the device ends. */
    void forget(int device) {
        for (size_t i = all.size(); i-- > 0;)
            if (all[i]->device == device)
                destroy(all[i], "cudaDeviceReset");
    }
};

/* --- Queued work (queue.cc) ------------------------------------------------------------------ */

struct operation {
    std::string what;
    int device;
    const void *stream; /* only to compare: it may be gone */
    std::function<void()> run;
    std::vector<std::shared_ptr<operation>> after;
    bool done = false;
    double finished = 0; /* seconds */
};

using operation_ref = std::shared_ptr<operation>;

/* A graph, or one that is being captured. */
struct node {
    std::string what;
    std::function<void()> run;
    std::vector<size_t> after;
};

struct CUgraph_st {
    int device;
    std::vector<node> nodes;
};

struct capture {
    CUgraph_st *graph;
    cudaStream_t origin;
    const void *thread; /* that began it */
};

struct CUstream_st {
    int device;
    bool blocking; /* joins in with the legacy default stream */
    operation_ref last;
    std::shared_ptr<capture> capturing;
    std::vector<size_t> tail; /* nodes that the next one comes after */
};

struct CUevent_st {
    int device;
    bool timing;
    operation_ref recorded;
    std::shared_ptr<capture> captured;
    std::vector<size_t> nodes;
};

/* Returns the device's default stream for NULL; ends the program for a stream that is none. */
cudaStream_t stream_find(cudaStream_t stream, int device, const char *who);

/* Queues work, or adds it to the graph that is being captured. */
void stream_add(cudaStream_t stream, const std::string &what, std::function<void()> run,
                std::unique_lock<std::mutex> &lock);

/* Runs what must be run until the operation is done, letting other threads in between. */
void operation_finish(const operation_ref &operation, std::unique_lock<std::mutex> &lock);
void device_finish(int device, std::unique_lock<std::mutex> &lock);

/* Ends the program when this thread has a capture under way, in which the call is not allowed. */
void capture_forbid(const char *who);

void streams_forget(int device); /* at cudaDeviceReset */
size_t streams_live();

/* Returns what identifies the host thread. */
const void *this_thread();

/* --- Memory (memory.cc) ---------------------------------------------------------------------- */

enum memory_kind { MEMORY_PAGEABLE, MEMORY_DEVICE, MEMORY_PINNED };

struct allocation {
    char *first;
    size_t bytes;
    memory_kind kind;
    int device;
};

/* Returns the allocation that holds p, or NULL. */
const allocation *memory_find(const void *p);

/* Ends the program unless bytes from p on lie in memory of the device. */
void memory_check(const void *p, size_t bytes, int device, const char *who, const char *what);

/* Opens a device's memory to accesses, which ASan lets pass until it is closed. */
void memory_open(int device, bool open);

void memory_check_bounds(const std::string &after);
void memory_forget(int device);
size_t memory_live();

/* --- cuBLASLt (lt.cc) ------------------------------------------------------------------------ */

size_t lt_live();

#endif
