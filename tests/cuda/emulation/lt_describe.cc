/* SPDX-License-Identifier: Apache-2.0
 *
 * cuBLASLt's descriptions of matrices, products and preferences, and its names.
 */
#include "lt.h"

#include <cstring>

registry<emulation_matmul> matmuls = {"description", {}};
registry<emulation_layout> layouts = {"description", {}};

namespace {

registry<emulation_preference> preferences = {"description", {}};

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

/* Ends the program for an attribute that is unknown or of another size: the library would return
 * an error, that nobody expects. */
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

size_t descriptions_live() {
    return matmuls.all.size() + layouts.all.size() + preferences.all.size();
}

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

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    LT_CALL();
    layouts.destroy(layout, __func__);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *matmul, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    LT_CALL();
    *matmul = matmuls.add(new emulation_matmul{compute, scale, CUBLAS_OP_N, CUBLAS_OP_N,
                                               CUBLASLT_EPILOGUE_DEFAULT, nullptr, TYPE_OF_D});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmul) {
    LT_CALL();
    matmuls.destroy(matmul, __func__);
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

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    LT_CALL();
    preferences.destroy(preference, __func__);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    LT_CALL();
    return attribute_set(preference_fields, preferences.check(preference, __func__), attribute,
                         value, bytes, __func__);
}
