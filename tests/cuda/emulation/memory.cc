/* SPDX-License-Identifier: Apache-2.0
 *
 * This part has the memory of devices and pinned memory of the host. It comes from malloc, so that
 * ASan knows its bounds, and is filled with NaN. Under ASan device memory is poisoned while host
 * code runs; otherwise a margin around each allocation is compared after every kernel.
 */
#include "state.h"

#include <cstdlib>
#include <cstring>

#ifdef EMULATION_ASAN
#include <sanitizer/asan_interface.h>
static const bool asan = true;
#else
static const bool asan = false;
#define __asan_poison_memory_region(p, bytes) ((void)(p), (void)(bytes))
#define __asan_unpoison_memory_region(p, bytes) ((void)(p), (void)(bytes))
#endif

namespace {

const size_t MARGIN = 256; /* and alignment */
const unsigned char MARGIN_VALUE = 0xA5;

std::map<const char *, allocation> allocations; /* by first byte */

const char *kind_name(memory_kind kind) {
    static const char *const names[] = {"pageable", "device", "pinned"};
    return names[kind];
}

/* Returns the bytes of an allocation with its margins. */
size_t whole(size_t bytes) {
    return (bytes + MARGIN - 1) / MARGIN * MARGIN + 2 * MARGIN;
}

/* Returns NULL when the system has no memory. */
char *memory_take(size_t bytes, memory_kind kind, int device) {
    char *all = static_cast<char *>(aligned_alloc(MARGIN, whole(bytes)));
    if (!all)
        return nullptr;
    memset(all, MARGIN_VALUE, whole(bytes));
    memset(all + MARGIN, 0xFF, bytes);
    allocations[all + MARGIN] = {all + MARGIN, bytes, kind, device};
    __asan_poison_memory_region(all, MARGIN);
    __asan_poison_memory_region(all + MARGIN + bytes, whole(bytes) - MARGIN - bytes);
    if (kind == MEMORY_DEVICE) {
        world.devices[device].used += bytes;
        memory_open(device, false);
    }
    return all + MARGIN;
}

void memory_drop(const allocation &allocation) {
    char *all = allocation.first - MARGIN;
    __asan_unpoison_memory_region(all, whole(allocation.bytes));
    if (allocation.kind == MEMORY_DEVICE)
        world.devices[allocation.device].used -= allocation.bytes;
    memset(allocation.first, 0xFF, allocation.bytes);
    free(all);
}

/* Frees what begins at p. Work under way is finished first, as CUDA does. */
cudaError_t memory_free(call &call, void *p, memory_kind kind, const char *who) {
    if (!p)
        return call.done();
    auto found = allocations.find(static_cast<char *>(p));
    if (found == allocations.end() || found->second.kind != kind)
        emulation_die("%s: %p is not the beginning of live %s memory", who, p, kind_name(kind));
    capture_forbid(who);
    device_finish(found->second.device, call.lock);
    allocation allocation = found->second;
    allocations.erase(static_cast<char *>(p));
    memory_drop(allocation);
    return call.done();
}

bool margin_intact(const char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (static_cast<unsigned char>(p[i]) != MARGIN_VALUE)
            return false;
    return true;
}

/* Checks one side of a copy or memset. Returns its kind of memory. */
memory_kind side_check(const void *p, size_t bytes, int device, const char *what,
                       const char *side) {
    const allocation *allocation = memory_find(p);
    if (!allocation)
        return MEMORY_PAGEABLE;
    size_t offset = static_cast<size_t>(static_cast<const char *>(p) - allocation->first);
    if (bytes > allocation->bytes - offset)
        emulation_die("%s: %zu bytes %s offset %zu of %zu bytes of %s memory", what, bytes, side,
                      offset, allocation->bytes, kind_name(allocation->kind));
    if (allocation->kind == MEMORY_DEVICE && allocation->device != device)
        emulation_die("%s: %s memory of device %d, on a stream of device %d", what, side,
                      allocation->device, device);
    return allocation->kind;
}

void copy_check(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, int device,
                bool pageable, const char *what) {
    memory_kind target = side_check(to, bytes, device, what, "to");
    memory_kind source = side_check(from, bytes, device, what, "from");
    if ((target == MEMORY_DEVICE) != (kind == cudaMemcpyHostToDevice) ||
        (source == MEMORY_DEVICE) != (kind == cudaMemcpyDeviceToHost))
        emulation_die("%s: direction %d, but it is from %s to %s memory (or what was freed)", what,
                      kind, kind_name(source), kind_name(target));
    if (!pageable && (target == MEMORY_PAGEABLE || source == MEMORY_PAGEABLE))
        emulation_die("%s: %s %p is pageable memory: the copy would not be asynchronous", what,
                      target == MEMORY_PAGEABLE ? "to" : "from",
                      target == MEMORY_PAGEABLE ? to : from);
}

std::string describe(const char *name, size_t bytes) {
    return std::string(name) + " of " + std::to_string(bytes) + " bytes";
}

/* Queues a copy. It is checked now, and again when it runs, because memory may have been freed
 * meanwhile. */
void copy_add(call &call, void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
              cudaStream_t stream, bool pageable, const std::string &what) {
    auto check = [=, device = stream->device] {
        copy_check(to, from, bytes, kind, device, pageable, what.c_str());
    };
    check();
    stream_add(
        stream, what,
        [=] {
            check();
            memcpy(to, from, bytes);
        },
        call.lock);
}

} // namespace

const allocation *memory_find(const void *p) {
    auto next = allocations.upper_bound(static_cast<const char *>(p));
    if (next == allocations.begin())
        return nullptr;
    const allocation &found = (--next)->second;
    return static_cast<const char *>(p) < found.first + found.bytes ? &found : nullptr;
}

bool memory_on_device(const void *p, size_t bytes) {
    const allocation *found = memory_find(p);
    return found && bytes <= found->bytes &&
           static_cast<const char *>(p) <= found->first + found->bytes - bytes;
}

void memory_check(const void *p, size_t bytes, int device, const char *who, const char *what) {
    const allocation *found = memory_find(p);
    if (!found || found->kind != MEMORY_DEVICE || found->device != device)
        emulation_die("%s: %s at %p is not in live memory of device %d", who, what, p, device);
    if (!memory_on_device(p, bytes))
        emulation_die("%s: %s: %zu bytes from offset %zu of an allocation of %zu", who, what, bytes,
                      static_cast<size_t>(static_cast<const char *>(p) - found->first),
                      found->bytes);
}

void memory_open(int device, bool open) {
    for (auto &[first, allocation] : allocations) {
        if (allocation.kind != MEMORY_DEVICE || allocation.device != device)
            continue;
        if (open)
            __asan_unpoison_memory_region(first, allocation.bytes);
        else
            __asan_poison_memory_region(first, allocation.bytes);
    }
}

void memory_check_bounds(const std::string &after) {
    if (asan)
        return;
    for (auto &[first, allocation] : allocations) {
        size_t rest = whole(allocation.bytes) - MARGIN - allocation.bytes;
        if (!margin_intact(first - MARGIN, MARGIN) ||
            !margin_intact(first + allocation.bytes, rest))
            emulation_die("%s wrote outside an allocation of %zu bytes of %s memory", after.c_str(),
                          allocation.bytes, kind_name(allocation.kind));
    }
}

void memory_forget(int device) {
    for (auto next = allocations.begin(); next != allocations.end();) {
        auto here = next++;
        if (here->second.device != device)
            continue;
        allocation allocation = here->second;
        allocations.erase(here);
        memory_drop(allocation);
    }
}

size_t memory_live() {
    return allocations.size();
}

/* --- The runtime's functions ----------------------------------------------------------------- */

cudaError_t cudaMalloc(void **pointer, size_t bytes) {
    CALL(DEVICE);
    capture_forbid(__func__);
    const device &device = world.devices[call.device];
    *pointer = nullptr;
    if (bytes == 0)
        return cudaSuccess;
    if (bytes > device.memory - device.used)
        return call.fail(cudaErrorMemoryAllocation);
    *pointer = memory_take(bytes, MEMORY_DEVICE, call.device);
    return *pointer ? cudaSuccess : call.fail(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *pointer) {
    CALL(DEVICE);
    return memory_free(call, pointer, MEMORY_DEVICE, __func__);
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned int) {
    CALL(DEVICE);
    capture_forbid(__func__);
    *pointer = bytes ? memory_take(bytes, MEMORY_PINNED, call.device) : nullptr;
    return *pointer || !bytes ? cudaSuccess : call.fail(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *pointer) {
    CALL(DEVICE);
    return memory_free(call, pointer, MEMORY_PINNED, __func__);
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    CALL(DEVICE);
    const device &device = world.devices[call.device];
    *available = device.memory - device.used;
    *total = device.memory;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    CALL(DEVICE);
    copy_add(call, to, from, bytes, kind, stream_find(stream, call.device, __func__), false,
             describe(__func__, bytes));
    return call.done();
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    CALL(DEVICE);
    capture_forbid(__func__);
    cudaStream_t stream = stream_find(nullptr, call.device, __func__);
    copy_add(call, to, from, bytes, kind, stream, true, describe(__func__, bytes));
    operation_finish(stream->last, call.lock);
    return call.done();
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    CALL(DEVICE);
    std::string what = describe(__func__, bytes);
    stream = stream_find(stream, call.device, __func__);
    int device = stream->device;
    memory_check(to, bytes, device, __func__, "target");
    stream_add(
        stream, what,
        [=] {
            memory_check(to, bytes, device, "cudaMemsetAsync", "target");
            memset(to, value, bytes);
        },
        call.lock);
    return call.done();
}

cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    return cudaMemsetAsync(to, value, bytes, nullptr);
}
