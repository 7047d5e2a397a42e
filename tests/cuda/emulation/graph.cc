/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs: what a capture wrote down, run again as often as wanted. A launch is one operation, its
 * nodes run in one of the orders that their dependences allow.
 */
#include "state.h"

struct CUgraphExec_st {
    int device;
    std::shared_ptr<const std::vector<node>> nodes;
};

namespace {

registry<CUgraph_st> graphs = {"graph", {}};
registry<CUgraphExec_st> execs = {"executable graph", {}};

/* Forward takes the oldest node that can run, backward the newest, rotated one in between. */
void nodes_run(const std::vector<node> &nodes) {
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

} // namespace

void graph_keep(cudaGraph_t graph) {
    graphs.add(graph);
}

void graphs_forget(int device) {
    graphs.forget(device);
    execs.forget(device);
}

size_t graphs_live() {
    return graphs.all.size() + execs.all.size();
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

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    CALL(DEVICE);
    execs.destroy(exec, __func__);
    return call.done();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    CALL(DEVICE);
    graphs.destroy(graph, __func__);
    return call.done();
}
