/* SPDX-License-Identifier: Apache-2.0
 *
 * This part has devices, errors, and what tests can set.
 */
#include "include/cublasLt.h"
#include "state.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

struct world world;

namespace {

struct failure {
    std::string name; /* empty: any */
    unsigned left;
    int error;
    bool sticky;
    unsigned resets;
};

std::vector<failure> failures;
std::map<std::string, unsigned> calls;
bool configured;

thread_local int current_device;
thread_local cudaError_t last_error;

const char *text_of(const char *variable) {
    const char *text = getenv(variable);
    return text ? text : "";
}

[[noreturn]] void bad_variable(const char *variable) {
    emulation_die("%s=%s is not understood, see emulation.h", variable, text_of(variable));
}

/* Returns the place of the variable's value among the names, or `otherwise` when it is not set. */
int choice(const char *variable, std::initializer_list<const char *> names, int otherwise) {
    std::string text = text_of(variable);
    int index = 0;
    if (text.empty())
        return otherwise;
    for (const char *name : names) {
        if (text == name)
            return index;
        index++;
    }
    bad_variable(variable);
}

size_t number(const char *variable, size_t otherwise) {
    const char *text = text_of(variable);
    char *end;
    if (!*text)
        return otherwise;
    size_t value = strtoull(text, &end, 10);
    if (*end)
        bad_variable(variable);
    return value;
}

void read_failure() {
    std::string text = text_of("EMULATION_FAIL");
    if (text.empty())
        return;
    char name[100], sticky[8] = "";
    unsigned nth, resets = 0;
    int error;
    int got = sscanf(text.c_str(), "%99[^:]:%u:%d:%7[^:]:%u", name, &nth, &error, sticky, &resets);
    if (got < 3 || nth == 0 || (got > 3 && strcmp(sticky, "sticky") != 0))
        bad_variable("EMULATION_FAIL");
    failures.push_back({name, nth, error, got > 3, resets});
}

/* The caller holds the lock. */
void configure() {
    configured = true;
    failures.clear();
    calls.clear();
    world.order = static_cast<emulation_order>(
        choice("EMULATION_ORDER", {"forward", "backward", "rotated"}, EMULATION_FORWARD));
    world.epilogues = static_cast<emulation_epilogues>(
        choice("EMULATION_EPILOGUES", {"all", "bias", "none", "nothing"}, EMULATION_EPILOGUES_ALL));
    bool no_driver = strcmp(text_of("EMULATION_DEVICES"), "none") == 0;
    world.device_count =
        no_driver ? EMULATION_NO_DRIVER : static_cast<int>(number("EMULATION_DEVICES", 1));
    if (world.device_count > EMULATION_MAX_DEVICES)
        bad_variable("EMULATION_DEVICES");
    for (device &device : world.devices) {
        device = {};
        device.sm = static_cast<int>(number("EMULATION_SM", 80));
        device.memory = number("EMULATION_MEMORY", device.memory);
        device.name = "Emulated GPU";
    }
    read_failure();
}

std::unique_lock<std::mutex> lock_configured() {
    std::unique_lock<std::mutex> lock(world.lock);
    if (!configured)
        configure();
    return lock;
}

} // namespace

void emulation_die(const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fflush(stdout);
    fprintf(stderr, "emulation: %s\n", text);
    _exit(EMULATION_EXIT);
}

void emulation_reset() {
    std::unique_lock<std::mutex> lock(world.lock);
    size_t live = memory_live() + streams_live() + lt_live();
    if (live)
        emulation_die("emulation_reset: %zu things are not freed", live);
    configure();
}

void emulation_set_order(enum emulation_order order) {
    auto lock = lock_configured();
    world.order = order;
}

void emulation_set_epilogues(enum emulation_epilogues epilogues) {
    auto lock = lock_configured();
    world.epilogues = epilogues;
}

void emulation_set_device_count(int count) {
    auto lock = lock_configured();
    world.device_count = count;
}

void emulation_set_device(int index, int sm, size_t memory, const char *name) {
    auto lock = lock_configured();
    if (index < 0 || index >= EMULATION_MAX_DEVICES)
        emulation_die("there is no device %d to set", index);
    device &device = world.devices[index];
    device.sm = sm ? sm : device.sm;
    device.memory = memory ? memory : device.memory;
    device.name = name ? name : device.name;
}

void emulation_fail(const char *name, unsigned nth, int error, bool sticky, unsigned resets) {
    auto lock = lock_configured();
    failures.push_back({name ? name : "", nth, error, sticky, resets});
}

unsigned emulation_calls(const char *name) {
    auto lock = lock_configured();
    return calls[name ? name : ""];
}

const char *emulation_called(unsigned index) {
    auto lock = lock_configured();
    for (const auto &[name, count] : calls)
        if (!name.empty() && count > 0 && index-- == 0)
            return name.c_str();
    return nullptr;
}

size_t emulation_live() {
    auto lock = lock_configured();
    return memory_live() + streams_live() + lt_live();
}

/* --- How calls begin and end ----------------------------------------------------------------- */

static void device_forget(int device) {
    streams_forget(device);
    memory_forget(device);
}

/* At the end of the process this frees what a lost device held, for nobody else could. */
static void lost_forget() {
    for (int device = 0; device < EMULATION_MAX_DEVICES; device++)
        if (world.devices[device].error)
            device_forget(device);
}

int fail_now(const char *name, int index) {
    calls[name]++;
    calls[""]++;
    for (size_t i = 0; i < failures.size(); i++) {
        failure &failure = failures[i];
        if ((!failure.name.empty() && failure.name != name) || --failure.left)
            continue;
        struct failure hit = failure;
        failures.erase(failures.begin() + static_cast<ptrdiff_t>(i));
        bool library = strncmp(name, "cublas", 6) == 0;
        if (hit.sticky) {
            static const int registered = atexit(lost_forget); /* before static objects end */
            if (registered != 0)
                emulation_die("atexit failed");
            world.devices[index].error =
                library ? cudaErrorIllegalAddress : static_cast<cudaError_t>(hit.error);
            world.devices[index].resets = hit.resets;
        }
        return library && hit.name.empty() ? CUBLAS_STATUS_EXECUTION_FAILED : hit.error;
    }
    return 0;
}

void last_error_set(cudaError_t code) {
    last_error = code;
}

const void *this_thread() {
    return &last_error;
}

call::call(const char *name, needs needs) : error(cudaSuccess), device(current_device) {
    lock = lock_configured();
    if (needs == NOTHING)
        return;
    if (world.device_count == EMULATION_NO_DRIVER)
        error = cudaErrorInsufficientDriver;
    else if (world.device_count == 0)
        error = cudaErrorNoDevice;
    else if (int code = fail_now(name, device))
        error = static_cast<cudaError_t>(code);
    else if (needs == DEVICE)
        error = device_error();
}

cudaError_t call::device_error() {
    return world.devices[device].error;
}

cudaError_t call::fail(cudaError_t code) {
    last_error = code;
    return code;
}

cudaError_t cudaGetLastError(void) {
    CALL(NOTHING);
    cudaError_t code = last_error;
    last_error = cudaSuccess;
    return code ? code : call.done();
}

/* --- Devices --------------------------------------------------------------------------------- */

size_t shared_limit(int sm) {
    switch (sm) {
    case 70:
        return size_t(96) << 10;
    case 75:
        return size_t(64) << 10;
    case 80:
        return size_t(163) << 10;
    case 86:
    case 89:
        return size_t(99) << 10;
    default:
        return size_t(227) << 10;
    }
}

cudaError_t cudaDriverGetVersion(int *version) {
    CALL(NOTHING);
    *version = world.device_count == EMULATION_NO_DRIVER ? 0 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 0;
    CALL(DRIVER);
    *count = world.device_count;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int index) {
    CALL(DRIVER);
    if (index < 0 || index >= world.device_count)
        return call.fail(cudaErrorInvalidDevice);
    current_device = call.device = index;
    return call.done();
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int index) {
    CALL(DRIVER);
    if (index < 0 || index >= world.device_count)
        return call.fail(cudaErrorInvalidDevice);
    const struct device &device = world.devices[index];
    *properties = {};
    snprintf(properties->name, sizeof properties->name, "%s", device.name.c_str());
    properties->major = device.sm / 10;
    properties->minor = device.sm % 10;
    properties->multiProcessorCount = device.multiprocessors;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int index) {
    CALL(DRIVER);
    if (index < 0 || index >= world.device_count)
        return call.fail(cudaErrorInvalidDevice);
    const struct device &device = world.devices[index];
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
        *value = device.multiprocessors;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = device.sm / 10;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = device.sm % 10;
        return cudaSuccess;
    }
    return call.fail(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceSynchronize(void) {
    CALL(DEVICE);
    capture_forbid(__func__);
    device_finish(call.device, call.lock);
    return call.done();
}

/* Everything of the device is gone after this, a sticky error too. */
cudaError_t cudaDeviceReset(void) {
    CALL(DRIVER);
    struct device &device = world.devices[call.device];
    if (device.error && device.resets) {
        device.resets--;
        return call.fail(device.error);
    }
    device_finish(call.device, call.lock);
    device_forget(call.device);
    device.error = cudaSuccess;
    last_error = cudaSuccess;
    return cudaSuccess;
}

/* --- Names ----------------------------------------------------------------------------------- */

#define ERROR_NAME(error, number, text)                                                            \
    case error:                                                                                    \
        return #error;
#define ERROR_TEXT(error, number, text)                                                            \
    case error:                                                                                    \
        return text;

const char *cudaGetErrorName(cudaError_t error) {
    switch (error) { EMULATION_ERRORS(ERROR_NAME) }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) { EMULATION_ERRORS(ERROR_TEXT) }
    return "unrecognized error code";
}
