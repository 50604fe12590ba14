/* What the binding includes and Debian lacks. All of these are stubs: src/unused.cpp. */
#ifndef VECTORSTORE_INDEX_IVF_C_EX_H
#define VECTORSTORE_INDEX_IVF_C_EX_H

#include <faiss/c_api/IndexIVF_c.h>

#ifdef __cplusplus
extern "C" {
#endif

int faiss_IndexIVF_set_direct_map(FaissIndexIVF* index, int type);

int faiss_IndexIVF_list_vector_count(
        const FaissIndexIVF* index,
        idx_t* counts,
        size_t nlist,
        const FaissSearchParameters* params);

int faiss_IndexIVF_search_closest_eligible_centroids(
        FaissIndexIVF* index,
        idx_t n,
        const float* query,
        idx_t k,
        float* centroid_distances,
        idx_t* centroid_ids,
        const FaissSearchParameters* params);

int faiss_IndexIVF_search_preassigned_with_params(
        const FaissIndexIVF* index,
        idx_t n,
        const float* x,
        idx_t k,
        const idx_t* assign,
        const float* centroid_dis,
        float* distances,
        idx_t* labels,
        int store_pairs,
        const FaissSearchParametersIVF* params);

int faiss_IndexIVF_get_centroids_and_cardinality(
        const FaissIndexIVF* index,
        float* centroids,
        size_t* cardinality,
        idx_t* ids);

int faiss_Set_quantizers(FaissIndexIVF* index, FaissIndex* src);

#ifdef __cplusplus
}
#endif
#endif
