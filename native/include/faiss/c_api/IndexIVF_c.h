/* Debian's IndexIVF_c.h plus the IVF search parameters. */
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

/* 0 when params does not belong to an IVF search. */
int faiss_SearchParametersIVF_nprobe(const FaissSearchParametersIVF* params);

#ifdef __cplusplus
}
#endif
#endif
