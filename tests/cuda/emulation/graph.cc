/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs: what a capture wrote down, run again as often as wanted. A launch is one operation, its
 * nodes run in one of the orders that their dependences allow.
 */
#include "state.h"

#include <algorithm>

struct CUgraphExec_st {
    int device;
    std::shared_ptr<const std::vector<node>> nodes;
};

namespace {

std::set<cudaGraph_t> graphs;
std::set<cudaGraphExec_t> execs;

cudaGraph_t graph_check(cudaGraph_t graph, const char *who) {
    if (!graphs.count(graph))
        emulation_die("%s: %p is not a live graph", who, static_cast<void *>(graph));
    return graph;
}

cudaGraphExec_t exec_check(cudaGraphExec_t exec, const char *who) {
    if (!execs.count(exec))
        emulation_die("%s: %p is not a live executable graph", who, static_cast<void *>(exec));
    return exec;
}

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
    graphs.insert(graph);
}

void graphs_forget(int device) {
    for (auto next = graphs.begin(); next != graphs.end();) {
        auto here = next++;
        if ((*here)->device == device) {
            delete *here;
            graphs.erase(here);
        }
    }
    for (auto next = execs.begin(); next != execs.end();) {
        auto here = next++;
        if ((*here)->device == device) {
            delete *here;
            execs.erase(here);
        }
    }
}

size_t graphs_live() {
    return graphs.size() + execs.size();
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long) {
    CALL(DEVICE);
    graph_check(graph, "cudaGraphInstantiateWithFlags");
    *exec =
        new CUgraphExec_st{graph->device, std::make_shared<const std::vector<node>>(graph->nodes)};
    execs.insert(*exec);
    return call.done();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    CALL(DEVICE);
    exec_check(exec, "cudaGraphLaunch");
    stream = stream_find(stream, call.device, "cudaGraphLaunch");
    if (stream->device != exec->device)
        return call.fail(cudaErrorInvalidValue);
    if (stream->capturing)
        return call.fail(cudaErrorNotSupported);
    auto nodes = exec->nodes;
    stream_add(
        stream, "cudaGraphLaunch", [nodes] { nodes_run(*nodes); }, call.lock);
    return call.done();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    CALL(DEVICE);
    execs.erase(exec_check(exec, "cudaGraphExecDestroy"));
    delete exec;
    return call.done();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    CALL(DEVICE);
    graphs.erase(graph_check(graph, "cudaGraphDestroy"));
    delete graph;
    return call.done();
}
