/* What the binding includes and Debian lacks. All but the first are stubs: src/unused.cpp. */
#ifndef VECTORSTORE_INDEX_C_EX_H
#define VECTORSTORE_INDEX_C_EX_H

#include <faiss/c_api/Index_c.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes the index keeps resident: codes, graph, ids and list headers. */
size_t faiss_Index_size(const FaissIndex* index);

int faiss_Index_reconstruct_batch(
        const FaissIndex* index,
        idx_t n,
        const idx_t* keys,
        float* recons);

int faiss_Index_merge_from(FaissIndex* index, FaissIndex* other, idx_t add_id);

int faiss_Index_dist_compute(
        const FaissIndex* index,
        const float* x,
        const idx_t* ids,
        size_t n,
        float* distances);

void faiss_set_omp_threads(unsigned int n);

#ifdef __cplusplus
}
#endif
#endif
