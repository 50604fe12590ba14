/* Debian's header plus what the binding expects in it. What stands here are stubs: src/unused.cpp. */
#ifndef VECTORSTORE_INDEX_IVF_C_H
#define VECTORSTORE_INDEX_IVF_C_H

#include <faiss/c_api/Index_c.h>
#include_next <faiss/c_api/IndexIVF_c.h>

#ifdef __cplusplus
extern "C" {
#endif

FAISS_DECLARE_CLASS_INHERITED(SearchParametersIVF, SearchParameters)

int faiss_SearchParametersIVF_new_with(
        FaissSearchParametersIVF** p_sp,
        FaissIDSelector* sel,
        size_t nprobe,
        size_t max_codes);

int faiss_SearchParametersIVF_nprobe(const FaissSearchParametersIVF* params);

#ifdef __cplusplus
}
#endif
#endif
