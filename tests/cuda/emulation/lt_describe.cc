/* SPDX-License-Identifier: Apache-2.0
 *
 * cuBLASLt's descriptions of matrices, products and preferences, and its names.
 */
#include "lt.h"

#include <cstring>

namespace {

std::set<const void *> descriptions;

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

template <typename T> cublasStatus_t description_create(T **description, T first) {
    *description = new T(first);
    descriptions.insert(*description);
    return CUBLAS_STATUS_SUCCESS;
}

/* Ends the program for an attribute that is unknown or of another size: the library would return
 * an error, that nobody expects. */
template <size_t count>
cublasStatus_t attribute_set(const field (&fields)[count], void *description, int attribute,
                             const void *value, size_t bytes, const char *who) {
    description_check(description, who);
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

template <typename T> cublasStatus_t description_destroy(T *description, const char *who) {
    if (!descriptions.erase(description))
        emulation_die("%s: %p is not a live description", who,
                      static_cast<const void *>(description));
    delete description;
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

void description_check(const void *description, const char *who) {
    if (!descriptions.count(description))
        emulation_die("%s: %p is not a live description", who, description);
}

size_t descriptions_live() {
    return descriptions.size();
}

const char *cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR:
        return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
        return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_LICENSE_ERROR:
        return "CUBLAS_STATUS_LICENSE_ERROR";
    }
    return "CUBLAS_STATUS_UNKNOWN";
}

size_t cublasLtGetVersion(void) {
    return CUBLAS_VERSION;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
    LT_CALL();
    return description_create(layout, {type, rows, columns, ld});
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    LT_CALL();
    return description_destroy(layout, "cublasLtMatrixLayoutDestroy");
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *matmul, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    LT_CALL();
    return description_create(matmul, {compute, scale, CUBLAS_OP_N, CUBLAS_OP_N,
                                       CUBLASLT_EPILOGUE_DEFAULT, nullptr, TYPE_OF_D});
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmul) {
    LT_CALL();
    return description_destroy(matmul, "cublasLtMatmulDescDestroy");
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmul,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
    LT_CALL();
    return attribute_set(matmul_fields, matmul, attribute, value, bytes, __func__);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    LT_CALL();
    return description_create(preference, {CUBLASLT_REDUCTION_SCHEME_MASK, 0});
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    LT_CALL();
    return description_destroy(preference, "cublasLtMatmulPreferenceDestroy");
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    LT_CALL();
    return attribute_set(preference_fields, preference, attribute, value, bytes, __func__);
}
