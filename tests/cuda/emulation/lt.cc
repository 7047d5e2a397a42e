/* SPDX-License-Identifier: Apache-2.0
 *
 * cuBLASLt's stand-in. It knows a few algorithms that add up in different orders and do not all fit
 * every shape, so that a program whose results must not depend on a batch's size has something to
 * choose wrongly. What the library would refuse is refused with its status; what would read or
 * write where it must not, ends the program.
 */
#include "include/cublasLt.h"
#include "state.h"

#include <cstring>

/* This is like CALL: what is to fail fails, and nothing works without a device. */
#define LT_CALL()                                                                                  \
    class call call(__func__, call::DRIVER);                                                       \
    if (call.error)                                                                                \
    return world.device_count <= 0 ? CUBLAS_STATUS_NOT_INITIALIZED                                 \
                                   : static_cast<cublasStatus_t>(call.error)

const int32_t TYPE_OF_D = -1;

struct emulation_matmul {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t transposed_a, transposed_b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    int32_t bias_type; /* a cudaDataType_t, or TYPE_OF_D */
};

struct emulation_layout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t ld;
};

struct emulation_preference {
    uint32_t reductions;
    uint64_t workspace;
};

struct cublasLtContext {
    int device;
};

namespace {

const uint64_t MAGIC = 0x454D554C54; /* in the first word of an algorithm, above its number */

registry<cublasLtContext> handles = {"handle", {}};
registry<emulation_matmul> matmuls = {"description", {}};
registry<emulation_layout> layouts = {"description", {}};
registry<emulation_preference> preferences = {"description", {}};

enum { ID, SPLIT, REDUCTION }; /* the words of an algorithm */

struct kind {
    int id;
    size_t piece;          /* of k, summed on its own; 0: all of it */
    uint64_t columns_step; /* a multiple of this, */
    uint64_t columns_least;
};

const kind kinds[] = {{0, 0, 1, 1}, {1, 64, 64, 64}, {2, 128, 128, 256}};

/* --- Shapes ---------------------------------------------------------------------------------- */

size_t type_bytes(cudaDataType_t type) {
    return type == CUDA_R_32F ? 4 : 2;
}

struct product {
    cublasLtMatmulDesc_t matmul;
    cublasLtMatrixLayout_t a, b, c, d;
    uint64_t m() const {
        return d->rows;
    }
    uint64_t n() const {
        return d->columns;
    }
    uint64_t k() const {
        return matmul->transposed_a == CUBLAS_OP_N ? a->columns : a->rows;
    }
    cudaDataType_t bias_type() const {
        return matmul->bias_type == TYPE_OF_D ? d->type
                                              : static_cast<cudaDataType_t>(matmul->bias_type);
    }
    bool has_bias() const {
        return matmul->epilogue & CUBLASLT_EPILOGUE_BIAS;
    }
};

bool number_known(cudaDataType_t type, int sm) {
    return type == CUDA_R_32F || type == CUDA_R_16F || (type == CUDA_R_16BF && sm >= 80);
}

bool epilogue_known(cublasLtEpilogue_t epilogue) {
    switch (epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
        return world.epilogues != EMULATION_EPILOGUES_NOTHING;
    case CUBLASLT_EPILOGUE_BIAS:
        return world.epilogues <= EMULATION_EPILOGUES_BIAS;
    case CUBLASLT_EPILOGUE_GELU:
    case CUBLASLT_EPILOGUE_GELU_BIAS:
        return world.epilogues == EMULATION_EPILOGUES_ALL;
    }
    return false;
}

/* Returns what the library would say of such a product. */
cublasStatus_t product_status(const product &p, int sm) {
    uint64_t k = p.matmul->transposed_b == CUBLAS_OP_N ? p.b->rows : p.b->columns;
    uint64_t m = p.matmul->transposed_a == CUBLAS_OP_N ? p.a->rows : p.a->columns;
    uint64_t n = p.matmul->transposed_b == CUBLAS_OP_N ? p.b->columns : p.b->rows;
    if (!p.k() || k != p.k() || m != p.m() || n != p.n() || p.c->rows != m || p.c->columns != n)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (const emulation_layout *layout : {p.a, p.b, p.c, p.d}) {
        if (layout->ld < static_cast<int64_t>(layout->rows))
            return CUBLAS_STATUS_INVALID_VALUE;
        if (!number_known(layout->type, sm) || layout->ld * type_bytes(layout->type) % 16)
            return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    bool supported = p.a->type == p.b->type && p.c->type == p.d->type &&
                     (p.d->type == p.a->type || p.d->type == CUDA_R_32F) &&
                     (!p.has_bias() || p.bias_type() == p.d->type) &&
                     p.matmul->compute == CUBLAS_COMPUTE_32F && p.matmul->scale == CUDA_R_32F &&
                     epilogue_known(p.matmul->epilogue);
    return supported ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

/* --- Algorithms ------------------------------------------------------------------------------ */

cublasLtMatmulAlgo_t algorithm(int id, uint64_t split) {
    cublasLtMatmulAlgo_t algo = {};
    algo.data[ID] = MAGIC << 8 | static_cast<uint64_t>(id);
    algo.data[SPLIT] = split;
    algo.data[REDUCTION] =
        split > 1 ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE : CUBLASLT_REDUCTION_SCHEME_NONE;
    return algo;
}

/* Returns NULL when the algorithm was not made by cublasLt. */
const kind *kind_of(const cublasLtMatmulAlgo_t &algo) {
    for (const kind &kind : kinds)
        if (algo.data[ID] == (MAGIC << 8 | static_cast<uint64_t>(kind.id)))
            return &kind;
    return nullptr;
}

size_t workspace_of(const cublasLtMatmulAlgo_t &algo, const product &p) {
    return algo.data[SPLIT] > 1 ? 4 * algo.data[SPLIT] * p.m() * p.n() : 0;
}

cublasStatus_t algorithm_status(const cublasLtMatmulAlgo_t &algo, const product &p) {
    const kind *kind = kind_of(algo);
    bool split = algo.data[SPLIT] > 1;
    if (!kind || split != (algo.data[REDUCTION] != CUBLASLT_REDUCTION_SCHEME_NONE))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p.n() % kind->columns_step || p.n() < kind->columns_least)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

cublasLtMatmulHeuristicResult_t result_of(const cublasLtMatmulAlgo_t &algo, const product &p) {
    cublasLtMatmulHeuristicResult_t result = {};
    result.algo = algo;
    result.workspaceSize = workspace_of(algo, p);
    result.state = CUBLAS_STATUS_SUCCESS;
    result.wavesCount = 1.0f;
    return result;
}

/* Returns the best algorithms first: large tiles for many columns, k in parts for few. */
std::vector<cublasLtMatmulAlgo_t> proposals(uint64_t columns) {
    if (columns >= 512)
        return {algorithm(2, 1), algorithm(1, 1), algorithm(0, 1)};
    return {algorithm(1, 4), algorithm(1, 1), algorithm(0, 2), algorithm(0, 1)};
}

/* --- Running --------------------------------------------------------------------------------- */

void operand_check(const char *name, const emulation_layout *layout, const void *data, int device) {
    size_t bytes = type_bytes(layout->type);
    uint64_t elements = static_cast<uint64_t>(layout->ld) * (layout->columns - 1) + layout->rows;
    if (reinterpret_cast<uintptr_t>(data) % 16)
        emulation_die("cublasLtMatmul: %s at %p is not aligned to 16 bytes", name, data);
    memory_check(data, elements * bytes, device, "cublasLtMatmul", name);
}

gemm_matrix matrix(const emulation_layout *layout, const void *data, cublasOperation_t operation) {
    return {const_cast<void *>(data), layout->type, static_cast<size_t>(layout->ld),
            operation != CUBLAS_OP_N};
}

struct operands {
    const void *a, *b, *c;
    void *d, *workspace;
};

void operands_check(const product &p, const operands &data, bool reads_c, size_t workspace,
                    int device) {
    operand_check("A", p.a, data.a, device);
    operand_check("B", p.b, data.b, device);
    operand_check("D", p.d, data.d, device);
    if (reads_c) {
        operand_check("C", p.c, data.c, device);
        if (data.c == data.d && p.c->ld != p.d->ld)
            emulation_die("cublasLtMatmul: C and D are one matrix of two leading dimensions");
    }
    if (p.has_bias())
        memory_check(p.matmul->bias, p.m() * type_bytes(p.bias_type()), device, "cublasLtMatmul",
                     "bias");
    if (workspace)
        memory_check(data.workspace, workspace, device, "cublasLtMatmul", "workspace");
}

gemm gemm_of(const product &p, const operands &data, float alpha, float beta,
             const cublasLtMatmulAlgo_t &algo) {
    gemm gemm = {};
    gemm.a = matrix(p.a, data.a, p.matmul->transposed_a);
    gemm.b = matrix(p.b, data.b, p.matmul->transposed_b);
    gemm.c = matrix(p.c, data.c, CUBLAS_OP_N);
    gemm.d = matrix(p.d, data.d, CUBLAS_OP_N);
    gemm.m = p.m();
    gemm.n = p.n();
    gemm.k = p.k();
    size_t split = std::max(algo.data[SPLIT], uint64_t(1)), piece = kind_of(algo)->piece;
    gemm.piece = (gemm.k + split - 1) / split;
    gemm.piece = piece ? std::min(piece, gemm.piece) : gemm.piece;
    gemm.alpha = alpha;
    gemm.beta = beta;
    gemm.bias = p.has_bias() ? p.matmul->bias : nullptr;
    gemm.bias_type = p.bias_type();
    gemm.gelu = p.matmul->epilogue & CUBLASLT_EPILOGUE_GELU;
    return gemm;
}

product product_check(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul,
                      cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                      cublasLtMatrixLayout_t d, const char *who) {
    handles.check(handle, who);
    matmuls.check(matmul, who);
    for (cublasLtMatrixLayout_t layout : {a, b, c, d})
        layouts.check(layout, who);
    return {matmul, a, b, c, d};
}

/* --- Descriptions ----------------------------------------------------------------------------- */

struct field {
    int attribute;
    size_t offset, bytes;
};

#define FIELD(attribute, type, member)                                                             \
    { attribute, offsetof(type, member), sizeof(static_cast<type *>(nullptr)->member) }

const field matmul_fields[] = {
    FIELD(CUBLASLT_MATMUL_DESC_TRANSA, emulation_matmul, transposed_a),
    FIELD(CUBLASLT_MATMUL_DESC_TRANSB, emulation_matmul, transposed_b),
    FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE, emulation_matmul, epilogue),
    FIELD(CUBLASLT_MATMUL_DESC_BIAS_POINTER, emulation_matmul, bias),
    FIELD(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, emulation_matmul, bias_type),
};

const field preference_fields[] = {
    FIELD(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, emulation_preference, workspace),
    FIELD(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, emulation_preference, reductions),
};

/* Ends the program for an attribute that is unknown or of another size. The library would return an
 * error, which no caller expects. */
template <size_t count>
cublasStatus_t attribute_set(const field (&fields)[count], void *description, int attribute,
                             const void *value, size_t bytes, const char *who) {
    for (const field &field : fields)
        if (field.attribute == attribute) {
            if (field.bytes != bytes)
                emulation_die("%s: attribute %d has %zu bytes, not %zu", who, attribute,
                              field.bytes, bytes);
            memcpy(static_cast<char *>(description) + field.offset, value, bytes);
            return CUBLAS_STATUS_SUCCESS;
        }
    emulation_die("%s: attribute %d is not emulated", who, attribute);
}

} // namespace

size_t lt_live() {
    return handles.all.size() + matmuls.all.size() + layouts.all.size() + preferences.all.size();
}

#define LT_DESTROY(name, type, registry)                                                           \
    cublasStatus_t name(type handle) {                                                             \
        LT_CALL();                                                                                 \
        registry.destroy(handle, __func__);                                                        \
        return CUBLAS_STATUS_SUCCESS;                                                              \
    }

LT_DESTROY(cublasLtDestroy, cublasLtHandle_t, handles)
LT_DESTROY(cublasLtMatmulDescDestroy, cublasLtMatmulDesc_t, matmuls)
LT_DESTROY(cublasLtMatrixLayoutDestroy, cublasLtMatrixLayout_t, layouts)
LT_DESTROY(cublasLtMatmulPreferenceDestroy, cublasLtMatmulPreference_t, preferences)

#define NAMED(status)                                                                              \
    case status:                                                                                   \
        return #status

const char *cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
        NAMED(CUBLAS_STATUS_SUCCESS);
        NAMED(CUBLAS_STATUS_NOT_INITIALIZED);
        NAMED(CUBLAS_STATUS_INVALID_VALUE);
        NAMED(CUBLAS_STATUS_EXECUTION_FAILED);
        NAMED(CUBLAS_STATUS_NOT_SUPPORTED);
    }
    return "CUBLAS_STATUS_UNKNOWN";
}

size_t cublasLtGetVersion(void) {
    return CUBLAS_VERSION;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
    LT_CALL();
    *layout = layouts.add(new emulation_layout{type, rows, columns, ld});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *matmul, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    LT_CALL();
    *matmul = matmuls.add(new emulation_matmul{compute, scale, CUBLAS_OP_N, CUBLAS_OP_N,
                                               CUBLASLT_EPILOGUE_DEFAULT, nullptr, TYPE_OF_D});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmul,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
    LT_CALL();
    return attribute_set(matmul_fields, matmuls.check(matmul, __func__), attribute, value, bytes,
                         __func__);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    LT_CALL();
    *preference = preferences.add(new emulation_preference{CUBLASLT_REDUCTION_SCHEME_MASK, 0});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    LT_CALL();
    return attribute_set(preference_fields, preferences.check(preference, __func__), attribute,
                         value, bytes, __func__);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    LT_CALL();
    if (world.devices[call.device].error)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = handles.add(new cublasLtContext{call.device});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *returned) {
    LT_CALL();
    product p = product_check(handle, matmul, a, b, c, d, __func__);
    *returned = 0;
    if (requested <= 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    cublasStatus_t status = product_status(p, world.devices[call.device].sm);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    for (const cublasLtMatmulAlgo_t &algo : proposals(p.n())) {
        bool wanted = !algo.data[REDUCTION] || (algo.data[REDUCTION] & preference->reductions);
        if (wanted && *returned < requested && workspace_of(algo, p) <= preference->workspace &&
            algorithm_status(algo, p) == CUBLAS_STATUS_SUCCESS)
            results[(*returned)++] = result_of(algo, p);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algo,
                                       cublasLtMatmulHeuristicResult_t *result) {
    LT_CALL();
    product p = product_check(handle, matmul, a, b, c, d, __func__);
    cublasStatus_t status = product_status(p, world.devices[call.device].sm);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = algorithm_status(*algo, p);
    if (status == CUBLAS_STATUS_SUCCESS)
        *result = result_of(*algo, p);
    return status;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *value, size_t bytes, size_t *written) {
    LT_CALL();
    if (attribute != CUBLASLT_ALGO_CONFIG_SPLITK_NUM || bytes != sizeof(int32_t))
        emulation_die("%s: attribute %d of %zu bytes is not emulated", __func__, attribute, bytes);
    memcpy(value, &algo->data[SPLIT], bytes);
    *written = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t matmul,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                              const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                              const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream) {
    LT_CALL();
    product p = product_check(handle, matmul, a_layout, b_layout, c_layout, d_layout, __func__);
    stream = stream_find(stream, call.device, __func__);
    int device = stream->device;
    if (world.devices[device].error)
        return CUBLAS_STATUS_EXECUTION_FAILED;
    cublasStatus_t status = product_status(p, world.devices[device].sm);
    cublasLtMatmulAlgo_t chosen = algo ? *algo : algorithm(0, 1);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = algorithm_status(chosen, p);
    if (status == CUBLAS_STATUS_SUCCESS && workspace_of(chosen, p) > workspace_bytes)
        status = CUBLAS_STATUS_INVALID_VALUE;
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    float scale = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    operands data = {a, b, c, d, workspace};
    operands_check(p, data, keep != 0.0f, workspace_bytes, device);
    gemm gemm = gemm_of(p, data, scale, keep, chosen);
    size_t scratch = workspace_of(chosen, p);
    stream_add(
        stream, __func__,
        [=] {
            memory_check(data.d, 1, device, "cublasLtMatmul", "D, when it ran,");
            if (scratch)
                memset(workspace, 0xFF, scratch);
            emulation_gemm(&gemm);
        },
        call.lock);
    return CUBLAS_STATUS_SUCCESS;
}
