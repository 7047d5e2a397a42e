/* SPDX-License-Identifier: Apache-2.0
 *
 * This tests the emulation itself: number conversions against their definition, products against
 * double precision, and what tests can set.
 */
#include "planted.h"

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "emulation.h"
#include "tests/check.h"

#include <thread>

/* --- Numbers --------------------------------------------------------------------------------- */

/* Returns a finite number of `fraction` stored bits, whose smallest exponent is `smallest`, by its
 * definition. */
static double number_value(unsigned bits, int fraction, int smallest) {
    int exponent = static_cast<int>(bits >> fraction);
    double parts = bits & ((1u << fraction) - 1);
    if (exponent > 0)
        parts += 1u << fraction;
    return std::ldexp(parts, (exponent > 0 ? exponent - 1 : 0) + smallest - fraction);
}

/* Checks every number, and what lies between it and the next, which must round to the nearer one,
 * and from the middle to the even one. */
template <typename Narrow, typename Widen>
static void check_numbers(unsigned infinity, int fraction, int smallest, Narrow narrow,
                          Widen widen) {
    for (unsigned bits = 0; bits < infinity; bits++) {
        double value = number_value(bits, fraction, smallest);
        double next = number_value(bits + 1, fraction, smallest), middle = (value + next) / 2;
        float exact = static_cast<float>(middle);
        CHECK(widen(bits) == value, "%04x is %g, not %g", bits, value, double(widen(bits)));
        CHECK(narrow(float(value)) == bits && narrow(-float(value)) == (bits | 0x8000u),
              "%g does not come back", value);
        if (double(exact) != middle)
            continue; /* bfloat16's smallest: finer than float */
        CHECK(narrow(exact) == bits + (bits & 1), "the middle above %04x", bits);
        CHECK(narrow(std::nextafterf(exact, 0.0f)) == bits, "below the middle above %04x", bits);
        CHECK(narrow(std::nextafterf(exact, INFINITY)) == bits + 1, "above it");
    }
    CHECK(std::isinf(widen(infinity)) && narrow(INFINITY) == infinity, "infinity");
    CHECK(std::isnan(widen(narrow(NAN))), "NaN");
}

static void check_conversions() {
    test_case("half is what IEEE 754 says");
    check_numbers(0x7C00, 10, -14, emulation_half_from_float, emulation_half_to_float);
    test_case("bfloat16 is the upper half of a float, rounded");
    check_numbers(0x7F80, 7, -126, emulation_bfloat_from_float, emulation_bfloat_to_float);
}

/* --- Products -------------------------------------------------------------------------------- */

struct shape {
    cudaDataType_t in, out;
    cublasOperation_t a, b;
    int m, n, k;
    float alpha, beta;
    bool bias;
};

static void store(void *to, cudaDataType_t type, size_t i, float value) {
    if (type == CUDA_R_32F)
        static_cast<float *>(to)[i] = value;
    else if (type == CUDA_R_16F)
        static_cast<half *>(to)[i] = value;
    else
        static_cast<nv_bfloat16 *>(to)[i] = value;
}

static double load(const void *from, cudaDataType_t type, size_t i) {
    if (type == CUDA_R_32F)
        return static_cast<const float *>(from)[i];
    if (type == CUDA_R_16F)
        return float(static_cast<const half *>(from)[i]);
    return float(static_cast<const nv_bfloat16 *>(from)[i]);
}

/* A matrix as it lies in memory, in columns. */
struct matrix {
    matrix(cudaDataType_t type, int rows, int columns, int padding, float seed)
        : type(type), ld(rows + padding), data(size_t(ld) * size_t(columns) * 4),
          shape(type, rows, columns, ld) {
        for (size_t i = 0; i < size_t(ld) * size_t(columns); i++)
            store(data.host, type, i, std::sin(seed * float(i + 1)));
    }
    double at(int i, int j, cublasOperation_t operation) const {
        return load(data.host, type, size_t(operation == CUBLAS_OP_N ? i + ld * j : j + ld * i));
    }
    cudaDataType_t type;
    int ld;
    both<unsigned char> data;
    layout shape;
};

static void check_product(const shape &s) {
    queue stream;
    bool at = s.a != CUBLAS_OP_N, bt = s.b != CUBLAS_OP_N;
    matrix a(s.in, at ? s.k : s.m, at ? s.m : s.k, 8, 0.7f);
    matrix b(s.in, bt ? s.n : s.k, bt ? s.k : s.n, 16, 0.3f);
    matrix d(s.out, s.m, s.n, 8, 0.9f), bias(s.out, s.m, 1, 0, 0.2f);
    matrix before(s.out, s.m, s.n, 8, 0.9f);
    for (matrix *matrix : {&a, &b, &d, &bias})
        matrix->data.up(stream);
    library handle;
    matmul product(s.a, s.b, s.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT,
                   bias.data.device);
    must(cublasLtMatmul(handle, product, &s.alpha, a.data.device, a.shape, b.data.device, b.shape,
                        &s.beta, d.data.device, d.shape, d.data.device, d.shape, nullptr, nullptr,
                        0, stream));
    d.data.down(stream);
    stream.wait();
    double bound = s.out == CUDA_R_32F ? 1e-6 : s.out == CUDA_R_16F ? 5e-4 : 4e-3;
    for (int i = 0; i < s.m; i++)
        for (int j = 0; j < s.n; j++) {
            double truth = double(s.beta) * before.at(i, j, CUBLAS_OP_N), size = std::fabs(truth);
            for (int k = 0; k < s.k; k++) {
                double term = double(s.alpha) * a.at(i, k, s.a) * b.at(k, j, s.b);
                truth += term;
                size += std::fabs(term);
            }
            truth += s.bias ? bias.at(i, 0, CUBLAS_OP_N) : 0.0;
            double error = std::fabs(d.at(i, j, CUBLAS_OP_N) - truth);
            CHECK(error <= bound * (std::fabs(truth) + 1e-6 * size) + 1e-5, "(%d, %d): off by %g",
                  i, j, error);
        }
    for (int j = 0; j < s.n; j++)
        for (int i = s.m; i < d.ld; i++)
            CHECK(d.at(i, j, CUBLAS_OP_N) == before.at(i, j, CUBLAS_OP_N), "padding is written");
}

static void check_products() {
    test_case("matrix products against double precision");
    for (cudaDataType_t in : {CUDA_R_16F, CUDA_R_16BF, CUDA_R_32F})
        for (cudaDataType_t out : {in, CUDA_R_32F})
            for (int turn = 0; turn < 4; turn++) {
                cublasOperation_t a = turn & 1 ? CUBLAS_OP_T : CUBLAS_OP_N;
                cublasOperation_t b = turn & 2 ? CUBLAS_OP_T : CUBLAS_OP_N;
                check_product({in, out, a, b, 40, 24, 72, 1.0f, 0.0f, turn == 1});
                check_product({in, out, a, b, 16, 8, 200, -0.5f, 1.0f, turn != 1});
            }
}

/* --- What tests set -------------------------------------------------------------------------- */

static void check_failures() {
    void *memory = nullptr;
    test_case("a call fails when it is told to");
    emulation_fail("cudaMalloc", 2, cudaErrorMemoryAllocation, false, 0);
    unsigned calls = emulation_calls("cudaMalloc");
    must(cudaMalloc(&memory, 100));
    must(cudaFree(memory));
    CHECK(cudaMalloc(&memory, 100) == cudaErrorMemoryAllocation, "it did not");
    CHECK(cudaGetLastError() == cudaErrorMemoryAllocation, "it is not the last error");
    CHECK(cudaGetLastError() == cudaSuccess, "it stays the last error");
    CHECK(emulation_calls("cudaMalloc") == calls + 2, "calls are counted wrongly");

    test_case("a sticky error stays until the device is reset");
    must(cudaMalloc(&memory, 100));
    emulation_fail("cudaDeviceSynchronize", 1, cudaErrorIllegalAddress, true, 1);
    CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress, "it did not come");
    CHECK(cudaMemset(memory, 0, 100) == cudaErrorIllegalAddress, "it did not stay");
    CHECK(cudaDeviceReset() == cudaErrorIllegalAddress, "the first reset succeeded");
    CHECK(cudaDeviceReset() == cudaSuccess, "the second did not");
    CHECK(emulation_live() == 0, "the reset left %zu things", emulation_live());
    CHECK(cudaDeviceSynchronize() == cudaSuccess, "the error is still there");
}

static void check_devices() {
    int count = -1, value = 0;
    test_case("devices are as many and such as was set");
    emulation_set_device_count(EMULATION_NO_DRIVER);
    CHECK(cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver && count == 0, "a driver");
    emulation_set_device_count(0);
    CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 0, "%d devices", count);
    emulation_set_device_count(2);
    emulation_set_device(1, 90, 1000, nullptr);
    CHECK(cudaGetDeviceCount(&count) == cudaSuccess && count == 2, "%d devices", count);
    CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice, "there is a third one");
    must(cudaSetDevice(1));
    must(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 1));
    CHECK(value == 9, "of generation %d", value);
    void *memory;
    CHECK(cudaMalloc(&memory, 1001) == cudaErrorMemoryAllocation, "more memory than it has");
    must(cudaMalloc(&memory, 1000));
    CHECK(emulation_live() == 1, "%zu things live", emulation_live());
    must(cudaFree(memory));
    must(cudaSetDevice(0));
    cudaGetLastError();
    emulation_reset();
    must(cudaGetDeviceCount(&count));
    CHECK(count == 1, "emulation_reset() left %d devices", count);
}

/* --- Threads --------------------------------------------------------------------------------- */

static __global__ void add_up(int *sum, int value) {
    __syncthreads();
    if (threadIdx.x == 0)
        *sum += value;
}

/* Several threads do this, each with a queue of its own; whoever waits may run the work of
 * another. */
static void work(int *sum) {
    queue stream;
    both<int> own(1);
    own.host[0] = 0;
    own.up(stream);
    for (int i = 1; i <= 20; i++) {
        LAUNCH(add_up, 1, 64, 0, stream, own.device, i);
        if (i % 5 == 0)
            stream.wait();
    }
    own.down(stream);
    stream.wait();
    *sum = own.host[0];
}

static void check_threads() {
    test_case("several host threads");
    int sums[3];
    std::vector<std::thread> threads;
    for (int &sum : sums)
        threads.emplace_back(work, &sum);
    for (std::thread &thread : threads)
        thread.join();
    for (int sum : sums)
        CHECK(sum == 210, "a thread counted to %d", sum);
    CHECK(emulation_live() == 0, "%zu things live", emulation_live());
}

int main() {
    check_conversions();
    check_products();
    check_failures();
    check_devices();
    for (emulation_order order : {EMULATION_FORWARD, EMULATION_BACKWARD, EMULATION_ROTATED}) {
        emulation_set_order(order);
        check_threads();
    }
    return test_done();
}
