/* Debian's Index_c.h plus search parameters, which the binding expects in it. These are stubs: src/unused.cpp. */
#ifndef VECTORSTORE_INDEX_C_H
#define VECTORSTORE_INDEX_C_H

#include_next <faiss/c_api/Index_c.h>

#ifdef __cplusplus
extern "C" {
#endif

FAISS_DECLARE_CLASS(SearchParameters)
FAISS_DECLARE_DESTRUCTOR(SearchParameters)

int faiss_SearchParameters_new(
        FaissSearchParameters** p_sp,
        FaissIDSelector* sel);

int faiss_Index_search_with_params(
        const FaissIndex* index,
        idx_t n,
        const float* x,
        idx_t k,
        const FaissSearchParameters* params,
        float* distances,
        idx_t* labels);

#ifdef __cplusplus
}
#endif
#endif
