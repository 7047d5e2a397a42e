/* SPDX-License-Identifier: Apache-2.0
 *
 * A launch is checked as the driver would check its configuration, and the kernel is queued.
 */
#include "include/gpu_emulation.h"

#include "state.h"

namespace {

struct function {
    int dynamic_shared = 48 << 10; /* allowed */
};

/* They are kept by device and kernel and never forgotten, so what was set stays set. */
std::map<std::pair<int, const void *>, function> functions;

function &function_of(int device, const void *kernel) {
    return functions[{device, kernel}];
}

void run(const emulation_kernel &kernel, int device) {
    if (int code = fail_now("kernel", device)) {
        world.devices[device].error = static_cast<cudaError_t>(code);
        return;
    }
    size_t limit = shared_limit(world.devices[device].sm);
    struct kernel_run run = {
        kernel.name,
        kernel.grid,
        kernel.block,
        kernel.dynamic_shared,
        kernel.dynamic_shared > (size_t(48) << 10) ? limit : size_t(48) << 10,
        world.devices[device].sm,
        world.order,
        [](void *user) { (*static_cast<const std::function<void()> *>(user))(); },
        const_cast<std::function<void()> *>(&kernel.body),
    };
    emulation_run(&run);
}

/* Returns 0, or the error that a launch of the kernel would give. */
cudaError_t configuration_fault(const emulation_kernel &kernel, int device) {
    auto volume = [](dim3 size) { return uint64_t(size.x) * size.y * size.z; };
    if (!volume(kernel.grid) || !volume(kernel.block) || volume(kernel.block) > 1024 ||
        kernel.grid.x > 0x7FFFFFFF || kernel.grid.y > 65535 || kernel.grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    size_t allowed = size_t(function_of(device, kernel.function).dynamic_shared);
    if (kernel.dynamic_shared > allowed)
        emulation_die("launch of %s with %zu bytes of dynamic shared memory, %zu are allowed "
                      "(cudaFuncSetAttribute)",
                      kernel.name, kernel.dynamic_shared, allowed);
    return cudaSuccess;
}

} // namespace

void emulation_launch_kernel(emulation_kernel kernel, cudaStream_t stream) {
    class call call("launch", call::DEVICE);
    if (!call.error) {
        stream = stream_find(stream, call.device, kernel.name);
        call.error = configuration_fault(kernel, stream->device);
    }
    if (call.error) {
        call.fail(call.error);
        return;
    }
    if (stream->device != call.device)
        emulation_die("launch of %s on a stream of device %d, the current device is %d",
                      kernel.name, stream->device, call.device);
    std::string what = std::string("kernel ") + kernel.name;
    int device = stream->device;
    stream_add(
        stream, what, [kernel = std::move(kernel), device] { run(kernel, device); }, call.lock);
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute, int value) {
    CALL(DEVICE);
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
        return value < -1 || value > 100 ? call.fail(cudaErrorInvalidValue) : call.done();
    if (value < 0 || size_t(value) > shared_limit(world.devices[call.device].sm))
        return call.fail(cudaErrorInvalidValue);
    function_of(call.device, kernel).dynamic_shared = value;
    return call.done();
}
