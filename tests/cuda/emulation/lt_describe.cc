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

const field layout_fields[] = {
    FIELD(CUBLASLT_MATRIX_LAYOUT_TYPE, emulation_layout, type),
    FIELD(CUBLASLT_MATRIX_LAYOUT_ORDER, emulation_layout, order),
    FIELD(CUBLASLT_MATRIX_LAYOUT_ROWS, emulation_layout, rows),
    FIELD(CUBLASLT_MATRIX_LAYOUT_COLS, emulation_layout, columns),
    FIELD(CUBLASLT_MATRIX_LAYOUT_LD, emulation_layout, ld),
    FIELD(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, emulation_layout, batch),
};

const field matmul_fields[] = {
    FIELD(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, emulation_matmul, compute),
    FIELD(CUBLASLT_MATMUL_DESC_SCALE_TYPE, emulation_matmul, scale),
    FIELD(CUBLASLT_MATMUL_DESC_POINTER_MODE, emulation_matmul, pointers),
    FIELD(CUBLASLT_MATMUL_DESC_TRANSA, emulation_matmul, transposed_a),
    FIELD(CUBLASLT_MATMUL_DESC_TRANSB, emulation_matmul, transposed_b),
    FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE, emulation_matmul, epilogue),
    FIELD(CUBLASLT_MATMUL_DESC_BIAS_POINTER, emulation_matmul, bias),
    FIELD(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, emulation_matmul, bias_type),
};

const field preference_fields[] = {
    FIELD(CUBLASLT_MATMUL_PREF_SEARCH_MODE, emulation_preference, search),
    FIELD(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, emulation_preference, workspace),
    FIELD(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, emulation_preference, reductions),
    FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, emulation_preference, alignment[0]),
    FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, emulation_preference, alignment[1]),
    FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, emulation_preference, alignment[2]),
    FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, emulation_preference, alignment[3]),
};

/* Where in an object an attribute lies. Ends the program for one that is unknown or of another
 * size: the library would return an error, that nobody expects. */
template <size_t count>
void *attribute_of(const field (&fields)[count], const void *object, int attribute, size_t bytes,
                   const char *who) {
    description_check(object, who);
    for (const field &field : fields)
        if (field.attribute == attribute) {
            if (field.bytes != bytes)
                emulation_die("%s: attribute %d has %zu bytes, not %zu", who, attribute,
                              field.bytes, bytes);
            return const_cast<char *>(static_cast<const char *>(object)) + field.offset;
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

const char *cublasLtGetStatusString(cublasStatus_t status) {
    return cublasLtGetStatusName(status);
}

size_t cublasLtGetVersion(void) {
    return CUBLAS_VERSION;
}

size_t cublasLtGetCudartVersion(void) {
    return CUDART_VERSION;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
    LT_CALL();
    *layout = new emulation_layout{type, CUBLASLT_ORDER_COL, rows, columns, ld, 1};
    descriptions.insert(*layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    LT_CALL();
    return description_destroy(layout, "cublasLtMatrixLayoutDestroy");
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes) {
    LT_CALL();
    memcpy(attribute_of(layout_fields, layout, attribute, bytes, __func__), value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                void *value, size_t bytes, size_t *written) {
    LT_CALL();
    memcpy(value, attribute_of(layout_fields, layout, attribute, bytes, __func__), bytes);
    if (written)
        *written = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *matmul, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    LT_CALL();
    *matmul = new emulation_matmul{compute,     scale,       CUBLASLT_POINTER_MODE_HOST,
                                   CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT,
                                   nullptr,     TYPE_OF_D};
    descriptions.insert(*matmul);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmul) {
    LT_CALL();
    return description_destroy(matmul, "cublasLtMatmulDescDestroy");
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmul,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
    LT_CALL();
    memcpy(attribute_of(matmul_fields, matmul, attribute, bytes, __func__), value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t matmul,
                                              cublasLtMatmulDescAttributes_t attribute, void *value,
                                              size_t bytes, size_t *written) {
    LT_CALL();
    memcpy(value, attribute_of(matmul_fields, matmul, attribute, bytes, __func__), bytes);
    if (written)
        *written = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    LT_CALL();
    *preference = new emulation_preference{
        CUBLASLT_SEARCH_BEST_FIT, CUBLASLT_REDUCTION_SCHEME_MASK, 0, {256, 256, 256, 256}};
    descriptions.insert(*preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    LT_CALL();
    return description_destroy(preference, "cublasLtMatmulPreferenceDestroy");
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    LT_CALL();
    memcpy(attribute_of(preference_fields, preference, attribute, bytes, __func__), value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}
