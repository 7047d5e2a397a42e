/* SPDX-License-Identifier: Apache-2.0
 *
 * These programs have bugs in host code: something is not waited for, memory is of the wrong kind,
 * or a product is wrong.
 */
#include "planted.h"

#include "cuda_fp16.h"

namespace {

const int COUNT = 256;

__global__ void add_one(float *x, int count) {
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count)
        x[i] += 1.0f;
}

__global__ void use_dynamic(float *out) {
    DYNAMIC_SHARED(float, values);
    values[threadIdx.x] = static_cast<float>(threadIdx.x);
    __syncthreads();
    out[threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}

/* A vector of numbers that are all alike. */
struct alike : both<float> {
    explicit alike(float value = 0.0f) : both(COUNT) {
        set(value);
    }
    void set(float value) {
        for (int i = 0; i < COUNT; i++)
            host[i] = value;
    }
    bool are(float value) const {
        for (int i = 0; i < COUNT; i++)
            if (host[i] != value)
                return false;
        return true;
    }
};

struct mark : scoped<cudaEvent_t, cudaEventDestroy> {
    mark() {
        must(cudaEventCreateWithFlags(&handle, cudaEventDisableTiming));
    }
};

bool sync_missing(bool broken) {
    queue stream;
    alike x(1.0f);
    x.up(stream);
    LAUNCH(add_one, 2, 128, 0, stream, x.device, COUNT);
    x.down(stream);
    if (!broken)
        stream.wait();
    bool right = x.are(2.0f);
    stream.wait();
    return right;
}

/* The host fills its buffer again before the copy out of it is known to be done. */
bool buffer_reused(bool broken) {
    queue stream;
    alike x(1.0f);
    x.up(stream);
    if (!broken)
        stream.wait();
    x.set(5.0f);
    x.down(stream);
    stream.wait();
    return x.are(1.0f);
}

/* One stream copies, another computes. */
bool wait_missing(bool broken) {
    queue copying, computing;
    alike x(1.0f);
    mark copied;
    x.up(copying);
    must(cudaEventRecord(copied, copying));
    if (!broken)
        must(cudaStreamWaitEvent(computing, copied, 0));
    LAUNCH(add_one, 2, 128, 0, computing, x.device, COUNT);
    x.down(computing);
    computing.wait();
    bool right = x.are(2.0f);
    copying.wait();
    return right;
}

/* The next input overwrites what has still to be read. */
bool wait_missing_before_reuse(bool broken) {
    queue copying, computing;
    alike x(1.0f), next(7.0f), out;
    mark copied, read;
    x.up(copying);
    must(cudaEventRecord(copied, copying));
    must(cudaStreamWaitEvent(computing, copied, 0));
    LAUNCH(add_one, 2, 128, 0, computing, x.device, COUNT);
    must(cudaMemcpyAsync(out.host, x.device, x.bytes, cudaMemcpyDeviceToHost, computing));
    must(cudaEventRecord(read, computing));
    if (!broken)
        must(cudaStreamWaitEvent(copying, read, 0));
    must(cudaMemcpyAsync(x.device, next.host, x.bytes, cudaMemcpyHostToDevice, copying));
    computing.wait();
    bool right = out.are(2.0f);
    copying.wait();
    return right;
}

bool copy_pageable(bool broken) {
    queue stream;
    alike x(3.0f);
    std::vector<float> pageable(COUNT, 3.0f);
    must(cudaMemcpyAsync(x.device, broken ? pageable.data() : x.host, x.bytes,
                         cudaMemcpyHostToDevice, stream));
    x.down(stream);
    stream.wait();
    return x.are(3.0f);
}

bool copy_overrun(bool broken) {
    queue stream;
    both<float> x(COUNT), y(COUNT + 1);
    size_t bytes = broken ? y.bytes : x.bytes;
    must(cudaMemcpyAsync(x.device, y.host, bytes, cudaMemcpyHostToDevice, stream));
    stream.wait();
    return true;
}

bool device_memory_read(bool broken) {
    queue stream;
    alike x(1.0f);
    x.up(stream);
    stream.wait();
    const volatile float *from = broken ? x.device : x.host;
    return *from == 1.0f;
}

bool used_after_free(bool broken) {
    queue stream;
    alike x;
    float *freed;
    must(cudaMalloc(&freed, x.bytes));
    must(cudaFree(freed));
    must(cudaMemcpyAsync(broken ? freed : x.device, x.host, x.bytes, cudaMemcpyHostToDevice,
                         stream));
    stream.wait();
    return true;
}

bool shared_too_large(bool broken) {
    queue stream;
    both<float> out(COUNT);
    if (!broken)
        must(cudaFuncSetAttribute(use_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  60 << 10));
    LAUNCH(use_dynamic, 1, COUNT, 60 << 10, stream, out.device);
    out.down(stream);
    stream.wait();
    return out.host[0] == float(COUNT - 1);
}

/* A captured side stream whose work the origin never waits for. */
bool capture_unjoined(bool broken) {
    queue main_stream, side;
    alike x(1.0f);
    mark forked, joined;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    must(cudaStreamBeginCapture(main_stream, cudaStreamCaptureModeThreadLocal));
    x.up(main_stream);
    must(cudaEventRecord(forked, main_stream));
    must(cudaStreamWaitEvent(side, forked, 0));
    LAUNCH(add_one, 2, 128, 0, side, x.device, COUNT);
    must(cudaEventRecord(joined, side));
    if (!broken)
        must(cudaStreamWaitEvent(main_stream, joined, 0));
    x.down(main_stream);
    must(cudaStreamEndCapture(main_stream, &graph));
    must(cudaGraphInstantiateWithFlags(&exec, graph, 0));
    must(cudaGraphDestroy(graph));
    must(cudaGraphLaunch(exec, main_stream));
    must(cudaGraphLaunch(exec, main_stream));
    main_stream.wait();
    must(cudaGraphExecDestroy(exec));
    return x.are(3.0f);
}

bool wait_in_capture(bool broken) {
    queue stream;
    both<float> x(COUNT);
    cudaGraph_t graph;
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    x.up(stream);
    if (broken)
        stream.wait();
    must(cudaStreamEndCapture(stream, &graph));
    must(cudaGraphDestroy(graph));
    return true;
}

/* --- Products -------------------------------------------------------------------------------- */

const int INPUTS = 192, OUTPUTS = 128, ROWS = 512;

struct preference : scoped<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> {
    preference() {
        must(cublasLtMatmulPreferenceCreate(&handle));
    }
};

/* y[rows][OUTPUTS] = gelu(x w' + bias), row-major, w [OUTPUTS][INPUTS]. */
struct layer {
    queue stream;
    both<half> x{ROWS * INPUTS}, w{OUTPUTS * INPUTS}, y{ROWS * OUTPUTS}, bias{OUTPUTS};
    library handle;

    layer() {
        for (int i = 0; i < ROWS * INPUTS; i++)
            x.host[i] = std::sin(0.37f * float(i));
        for (int i = 0; i < OUTPUTS * INPUTS; i++)
            w.host[i] = 0.2f * std::cos(0.11f * float(i));
        for (int i = 0; i < OUTPUTS; i++)
            bias.host[i] = 0.5f - float(i % 3) / 4.0f;
        x.up(stream);
        w.up(stream);
        bias.up(stream);
    }

    /* Uses the heuristic's first choice for so many rows, or for ROWS. */
    void run(int rows, cublasLtEpilogue_t epilogue, int ld, bool own_choice) {
        matmul product(CUBLAS_OP_T, CUBLAS_OP_N, epilogue, bias.device);
        layout a(CUDA_R_16F, INPUTS, OUTPUTS, INPUTS), b(CUDA_R_16F, INPUTS, rows, INPUTS);
        layout d(CUDA_R_16F, OUTPUTS, rows, ld), all_b(CUDA_R_16F, INPUTS, ROWS, INPUTS);
        layout all_d(CUDA_R_16F, OUTPUTS, ROWS, OUTPUTS);
        const layout &chosen_b = own_choice ? b : all_b, &chosen_d = own_choice ? d : all_d;
        preference none;
        cublasLtMatmulHeuristicResult_t found;
        float one = 1.0f, zero = 0.0f;
        int count;
        must(cublasLtMatmulAlgoGetHeuristic(handle, product, a, chosen_b, chosen_d, chosen_d, none,
                                            1, &found, &count));
        must(cublasLtMatmul(handle, product, &one, w.device, a, x.device, b, &zero, y.device, d,
                            y.device, d, &found.algo, nullptr, 0, stream));
        y.down(stream);
        stream.wait();
    }
};

double gelu(double x) {
    return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

bool is_layer(const layer &layer) {
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < OUTPUTS; j++) {
            double sum = float(layer.bias.host[j]);
            for (int k = 0; k < INPUTS; k++)
                sum += double(layer.x.host[i * INPUTS + k]) * double(layer.w.host[j * INPUTS + k]);
            double truth = gelu(sum), error = float(layer.y.host[i * OUTPUTS + j]) - truth;
            if (!(std::fabs(error) <= 1e-3 * std::fabs(truth) + 1e-5))
                return false;
        }
    return true;
}

bool epilogue_wrong(bool broken) {
    layer layer;
    layer.run(ROWS, broken ? CUBLASLT_EPILOGUE_GELU : CUBLASLT_EPILOGUE_GELU_BIAS, OUTPUTS, true);
    return is_layer(layer);
}

bool ld_too_large(bool broken) {
    layer layer;
    layer.run(ROWS, CUBLASLT_EPILOGUE_GELU_BIAS, broken ? INPUTS : OUTPUTS, true);
    return is_layer(layer);
}

/* The same rows come first in a large and in a small batch. */
bool batch_dependent(bool broken) {
    layer layer;
    const int few = 256;
    layer.run(ROWS, CUBLASLT_EPILOGUE_GELU_BIAS, OUTPUTS, true);
    std::vector<half> before(layer.y.host, layer.y.host + few * OUTPUTS);
    layer.run(few, CUBLASLT_EPILOGUE_GELU_BIAS, OUTPUTS, broken);
    return std::memcmp(before.data(), layer.y.host, before.size() * sizeof(half)) == 0;
}

} // namespace

const std::vector<planted> planted_hosts = {
    {"host reads too early", sync_missing, EVERYWHERE(WRONG)},
    {"host buffer used again too early", buffer_reused, EVERYWHERE(WRONG)},
    {"event not waited for", wait_missing, EVERYWHERE(WRONG)},
    {"event not waited for before reuse", wait_missing_before_reuse, EVERYWHERE(WRONG)},
    {"asynchronous copy of pageable memory", copy_pageable, EVERYWHERE("pageable memory")},
    {"copy past an allocation", copy_overrun, EVERYWHERE("1028 bytes to offset 0 of 1024")},
    {"host reads device memory", device_memory_read, {NULL, POISON, NULL}},
    {"copy into freed memory", used_after_free, EVERYWHERE("or what was freed")},
    {"more shared memory than allowed", shared_too_large, EVERYWHERE("49152 are allowed")},
    {"capture not joined", capture_unjoined, EVERYWHERE("cudaErrorStreamCaptureUnjoined")},
    {"wait within a capture", wait_in_capture, EVERYWHERE("is being captured")},
    {"epilogue without bias", epilogue_wrong, EVERYWHERE(WRONG)},
    {"leading dimension too large", ld_too_large, EVERYWHERE("of an allocation of")},
    {"algorithm by the batch's size", batch_dependent, EVERYWHERE(WRONG)},
};
