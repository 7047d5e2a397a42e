/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams, events, graphs, and the work queued on them. An operation knows what it comes after; it
 * runs when somebody waits for it, and what it comes after before it. So whatever the program
 * forgot to wait for has not happened yet, or (in the other orders) has happened long ago. A graph
 * is what a capture wrote down; a launch of it is one operation, whose nodes run in one of the
 * orders that their dependences allow.
 */
#include "state.h"

#include <ctime>
#include <sched.h>

struct CUgraphExec_st {
    int device;
    std::shared_ptr<const std::vector<node>> nodes;
};

namespace {

registry<CUstream_st> streams = {"stream", {}}; /* all but the default ones */
registry<CUevent_st> events = {"event", {}};
registry<CUgraph_st> graphs = {"graph", {}};
registry<CUgraphExec_st> execs = {"executable graph", {}};
CUstream_st default_streams[EMULATION_MAX_DEVICES];
std::set<std::shared_ptr<capture>> captures;

double now() {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

bool idle(const operation_ref &operation) {
    return !operation || operation->done;
}

/* Runs an operation whose predecessors are done. */
void operation_run(operation &operation, std::unique_lock<std::mutex> &lock) {
    device &device = world.devices[operation.device];
    if (!device.error && operation.run) {
        memory_open(operation.device, true);
        operation.run();
        memory_open(operation.device, false);
        memory_check_bounds(operation.what);
    }
    operation.run = nullptr;
    operation.after.clear();
    operation.finished = now();
    operation.done = true;
    lock.unlock();
    sched_yield();
    lock.lock();
}

/* Returns an operation that can run and must be done before `target`, or target itself. */
operation_ref next_to_run(operation_ref target) {
    for (;;) {
        auto missing = std::find_if(target->after.begin(), target->after.end(),
                                    [](const operation_ref &ref) { return !idle(ref); });
        if (missing == target->after.end())
            return target;
        target = *missing;
    }
}

void finish_quietly(const operation_ref &target, std::unique_lock<std::mutex> &lock) {
    while (!idle(target))
        operation_run(*next_to_run(target), lock);
}

/* Finishes the work of every other stream, the newest first. */
void finish_others(const void *stream, std::unique_lock<std::mutex> &lock) {
    std::vector<operation_ref> work;
    for (cudaStream_t other : streams.all)
        if (other != stream)
            work.push_back(other->last);
    for (size_t i = work.size(); i-- > 0;)
        finish_quietly(work[i], lock);
}

/* Returns what new work of a stream comes after. */
std::vector<operation_ref> predecessors(cudaStream_t stream) {
    std::vector<operation_ref> after = {stream->last};
    CUstream_st *legacy = &default_streams[stream->device];
    if (stream->blocking && stream != legacy)
        after.push_back(legacy->last);
    for (cudaStream_t other : streams.all)
        if (stream == legacy && other->blocking && other->device == stream->device)
            after.push_back(other->last);
    after.erase(std::remove_if(after.begin(), after.end(), idle), after.end());
    return after;
}

void queue(cudaStream_t stream, const std::string &what, std::function<void()> run,
           std::vector<operation_ref> after, std::unique_lock<std::mutex> &lock) {
    auto added = std::make_shared<operation>();
    added->what = what;
    added->device = stream->device;
    added->stream = stream;
    added->run = std::move(run);
    added->after = std::move(after);
    stream->last = added;
    if (world.order == EMULATION_ROTATED)
        finish_quietly(added, lock);
}

void capture_only(cudaStream_t stream, const char *who) {
    if (stream->capturing)
        emulation_die("%s: the stream is being captured", who);
}

} // namespace

/* --- For the other parts --------------------------------------------------------------------- */

cudaStream_t stream_find(cudaStream_t stream, int device, const char *who) {
    if (!stream) {
        default_streams[device].device = device;
        default_streams[device].blocking = true;
        return &default_streams[device];
    }
    return streams.check(stream, who);
}

void stream_add(cudaStream_t stream, const std::string &what, std::function<void()> run,
                std::unique_lock<std::mutex> &lock) {
    if (stream->capturing) {
        std::vector<node> &nodes = stream->capturing->graph->nodes;
        nodes.push_back({what, std::move(run), stream->tail});
        stream->tail = {nodes.size() - 1};
        return;
    }
    queue(stream, what, std::move(run), predecessors(stream), lock);
}

void operation_finish(const operation_ref &operation, std::unique_lock<std::mutex> &lock) {
    if (idle(operation))
        return;
    if (world.order == EMULATION_BACKWARD)
        finish_others(operation->stream, lock);
    finish_quietly(operation, lock);
}

void device_finish(int device, std::unique_lock<std::mutex> &lock) {
    std::vector<operation_ref> work = {default_streams[device].last};
    for (cudaStream_t stream : streams.all)
        if (stream->device == device)
            work.push_back(stream->last);
    for (const operation_ref &operation : work)
        operation_finish(operation, lock);
}

void capture_forbid(const char *who) {
    for (const auto &capture : captures)
        if (capture->thread == this_thread())
            emulation_die("%s while a stream is being captured", who);
}

void streams_forget(int device) {
    for (auto next = captures.begin(); next != captures.end();) {
        auto here = next++;
        if ((*here)->origin->device == device) {
            delete (*here)->graph;
            captures.erase(here);
        }
    }
    streams.forget(device);
    events.forget(device);
    default_streams[device] = {};
    graphs.forget(device);
    execs.forget(device);
}

size_t streams_live() {
    return streams.all.size() + events.all.size() + graphs.all.size() + execs.all.size();
}

/* --- Streams --------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags) {
    CALL(DEVICE);
    *stream = streams.add(
        new CUstream_st{call.device, !(flags & cudaStreamNonBlocking), nullptr, nullptr, {}});
    return cudaSuccess;
}

/* The stream's work still runs, as in CUDA. It is finished here, for nobody can wait for it any
 * more. */
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    CALL(DEVICE);
    if (!stream)
        return call.fail(cudaErrorInvalidResourceHandle);
    stream = stream_find(stream, call.device, __func__);
    capture_only(stream, __func__);
    operation_finish(stream->last, call.lock);
    streams.destroy(stream, __func__);
    return call.done();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    CALL(DEVICE);
    stream = stream_find(stream, call.device, __func__);
    capture_only(stream, __func__);
    operation_finish(stream->last, call.lock);
    return call.done();
}

/* --- Events ---------------------------------------------------------------------------------- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags) {
    CALL(DEVICE);
    *event = events.add(
        new CUevent_st{call.device, !(flags & cudaEventDisableTiming), nullptr, nullptr, {}});
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    CALL(DEVICE);
    stream = stream_find(stream, call.device, __func__);
    events.check(event, __func__);
    if (event->device != stream->device)
        return call.fail(cudaErrorInvalidResourceHandle);
    event->captured = stream->capturing;
    event->nodes = stream->tail;
    event->recorded = nullptr;
    if (!stream->capturing) {
        stream_add(stream, __func__, nullptr, call.lock);
        event->recorded = stream->last;
    }
    return call.done();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    CALL(DEVICE);
    events.check(event, __func__);
    if (event->captured)
        return call.fail(cudaErrorCapturedEvent);
    operation_finish(operation_ref(event->recorded), call.lock);
    return call.done();
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    CALL(DEVICE);
    events.check(start, __func__);
    events.check(end, __func__);
    if (!start->timing || !end->timing || !start->recorded || !end->recorded)
        return call.fail(cudaErrorInvalidResourceHandle);
    if (!idle(start->recorded) || !idle(end->recorded))
        return call.fail(cudaErrorNotReady);
    *milliseconds = static_cast<float>(1e3 * (end->recorded->finished - start->recorded->finished));
    return call.done();
}

/* A stream that waits for an event of a capture joins it. */
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
    CALL(DEVICE);
    stream = stream_find(stream, call.device, __func__);
    events.check(event, __func__);
    if (event->captured) {
        if (!captures.count(event->captured) ||
            (stream->capturing && stream->capturing != event->captured))
            return call.fail(cudaErrorStreamCaptureIsolation);
        stream->capturing = event->captured;
        stream->tail.insert(stream->tail.end(), event->nodes.begin(), event->nodes.end());
        return call.done();
    }
    if (stream->capturing)
        return call.fail(cudaErrorStreamCaptureIsolation);
    if (!idle(event->recorded)) {
        std::vector<operation_ref> after = predecessors(stream);
        after.push_back(event->recorded);
        queue(stream, __func__, nullptr, std::move(after), call.lock);
    }
    return call.done();
}

/* --- Capture --------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode) {
    CALL(DEVICE);
    if (!stream)
        return call.fail(cudaErrorStreamCaptureUnsupported);
    stream = stream_find(stream, call.device, __func__);
    capture_only(stream, __func__);
    stream->capturing = std::make_shared<capture>(
        capture{new CUgraph_st{stream->device, {}}, stream, this_thread()});
    stream->tail.clear();
    captures.insert(stream->capturing);
    return call.done();
}

/* The work of streams that joined must have been joined in turn, by an event that the origin waited
 * for. */
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    CALL(DEVICE);
    stream = stream_find(stream, call.device, __func__);
    std::shared_ptr<capture> ended = stream->capturing;
    *graph = nullptr;
    if (!ended)
        return call.fail(cudaErrorIllegalState);
    if (ended->origin != stream)
        return call.fail(cudaErrorStreamCaptureUnmatched);
    if (ended->thread != this_thread())
        return call.fail(cudaErrorStreamCaptureWrongThread);
    std::set<size_t> followed(stream->tail.begin(), stream->tail.end());
    for (const node &node : ended->graph->nodes)
        followed.insert(node.after.begin(), node.after.end());
    bool joined = followed.size() == ended->graph->nodes.size();
    for (cudaStream_t other : streams.all)
        if (other->capturing == ended) {
            other->capturing = nullptr;
            other->tail.clear();
        }
    captures.erase(ended);
    if (!joined) {
        delete ended->graph;
        return call.fail(cudaErrorStreamCaptureUnjoined);
    }
    *graph = graphs.add(ended->graph);
    return call.done();
}

/* --- Graphs ---------------------------------------------------------------------------------- */

/* Forward takes the oldest node that can run, backward the newest, rotated one in between. */
static void nodes_run(const std::vector<node> &nodes) {
    std::vector<bool> done(nodes.size());
    for (size_t round = 0; round < nodes.size(); round++) {
        std::vector<size_t> ready;
        for (size_t i = 0; i < nodes.size(); i++)
            if (!done[i] && std::all_of(nodes[i].after.begin(), nodes[i].after.end(),
                                        [&](size_t before) { return done[before]; }))
                ready.push_back(i);
        size_t chosen = world.order == EMULATION_FORWARD    ? ready.front()
                        : world.order == EMULATION_BACKWARD ? ready.back()
                                                            : ready[round % ready.size()];
        nodes[chosen].run();
        memory_check_bounds(nodes[chosen].what);
        done[chosen] = true;
    }
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long) {
    CALL(DEVICE);
    graphs.check(graph, __func__);
    *exec = execs.add(
        new CUgraphExec_st{graph->device, std::make_shared<const std::vector<node>>(graph->nodes)});
    return call.done();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    CALL(DEVICE);
    execs.check(exec, __func__);
    stream = stream_find(stream, call.device, __func__);
    if (stream->device != exec->device)
        return call.fail(cudaErrorInvalidValue);
    if (stream->capturing)
        return call.fail(cudaErrorNotSupported);
    auto nodes = exec->nodes;
    stream_add(
        stream, __func__, [nodes] { nodes_run(*nodes); }, call.lock);
    return call.done();
}

/* --- What has nothing else to end ------------------------------------------------------------ */

#define DESTROY(name, type, registry)                                                              \
    cudaError_t name(type handle) {                                                                \
        CALL(DEVICE);                                                                              \
        registry.destroy(handle, __func__);                                                        \
        return call.done();                                                                        \
    }

DESTROY(cudaEventDestroy, cudaEvent_t, events)
DESTROY(cudaGraphDestroy, cudaGraph_t, graphs)
DESTROY(cudaGraphExecDestroy, cudaGraphExec_t, execs)
