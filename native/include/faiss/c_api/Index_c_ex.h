/* Calls on any float index that Debian's C headers do not declare. */
#ifndef VECTORSTORE_INDEX_C_EX_H
#define VECTORSTORE_INDEX_C_EX_H

#include <faiss/c_api/Index_c.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes the index keeps resident: codes, graph, ids and list headers. */
size_t faiss_Index_size(const FaissIndex* index);

/* Writes n rows of index->d floats, row i being the vector stored under keys[i]. */
int faiss_Index_reconstruct_batch(
        const FaissIndex* index,
        idx_t n,
        const idx_t* keys,
        float* recons);

/* Moves the vectors of other behind those of index; other is empty afterwards. */
int faiss_Index_merge_from(FaissIndex* index, FaissIndex* other, idx_t add_id);

/* distances[i] = metric(x, vector ids[i]) for one query x. */
int faiss_Index_dist_compute(
        const FaissIndex* index,
        const float* x,
        const idx_t* ids,
        size_t n,
        float* distances);

/* Threads that train and add may use; searches always use the calling thread. */
void faiss_set_omp_threads(unsigned int n);

#ifdef __cplusplus
}
#endif
#endif
