/* What the binding includes and Debian lacks. All of these are stubs: src/unused.cpp. */
#ifndef VECTORSTORE_INDEX_BINARY_C_EX_H
#define VECTORSTORE_INDEX_BINARY_C_EX_H

#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/IndexBinary_c.h>

#ifdef __cplusplus
extern "C" {
#endif

size_t faiss_IndexBinary_size(const FaissIndexBinary* index);

int faiss_IndexBinary_search_with_params(
        const FaissIndexBinary* index,
        idx_t n,
        const uint8_t* x,
        idx_t k,
        const FaissSearchParameters* params,
        int32_t* distances,
        idx_t* labels);

#ifdef __cplusplus
}
#endif
#endif
