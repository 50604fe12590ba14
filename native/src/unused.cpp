// The calls that the binding names and vecindex never makes: they are here so that the binding links. One that can
// fail fails, the others end the process: neither could go unseen. Their declarations (include/faiss/c_api and
// Debian's) are not included, so each stands for any arguments.
#include "error.h"

#include <cstdio>
#include <cstdlib>

#define FAILS(call)                                                                \
    int call(...) {                                                                \
        return vs::guarded([] { vs::fail(#call " is not a part of this library"); }); \
    }
#define ENDS(call)                                                               \
    void call(...) {                                                             \
        std::fputs(#call " is not a part of this library\n", stderr); \
        std::abort();                                                            \
    }

extern "C" {

FAILS(faiss_IDSelectorBatch_new)
FAILS(faiss_IDSelectorBitmap_new)
FAILS(faiss_IDSelectorNot_new)
FAILS(faiss_IDSelectorRange_new)
FAILS(faiss_IndexBinaryIVF_get_centroids_and_cardinality)
FAILS(faiss_IndexBinaryIVF_list_vector_count)
FAILS(faiss_IndexBinaryIVF_search_closest_eligible_centroids)
FAILS(faiss_IndexBinaryIVF_search_preassigned_with_params)
FAILS(faiss_IndexBinaryIVF_set_direct_map)
FAILS(faiss_IndexBinary_add)
FAILS(faiss_IndexBinary_search)
FAILS(faiss_IndexBinary_search_with_params)
FAILS(faiss_IndexBinary_train)
FAILS(faiss_IndexFlat_new_with)
FAILS(faiss_IndexIVF_get_centroids_and_cardinality)
FAILS(faiss_IndexIVF_list_vector_count)
FAILS(faiss_IndexIVF_search_closest_eligible_centroids)
FAILS(faiss_IndexIVF_search_preassigned_with_params)
FAILS(faiss_IndexIVF_set_direct_map)
FAILS(faiss_Index_add_with_ids)
FAILS(faiss_Index_dist_compute)
FAILS(faiss_Index_merge_from)
FAILS(faiss_Index_range_search)
FAILS(faiss_Index_reconstruct)
FAILS(faiss_Index_reconstruct_batch)
FAILS(faiss_Index_remove_ids)
FAILS(faiss_Index_reset)
FAILS(faiss_Index_search)
FAILS(faiss_Index_search_with_params)
FAILS(faiss_RangeSearchResult_new)
FAILS(faiss_SearchParametersIVF_new_with)
FAILS(faiss_SearchParameters_new)
FAILS(faiss_Set_quantizers)
FAILS(faiss_index_binary_factory)
FAILS(faiss_read_index_binary_buf)
FAILS(faiss_read_index_buf)
FAILS(faiss_write_index_binary_buf)
FAILS(faiss_write_index_buf)

ENDS(faiss_IDSelector_free)
ENDS(faiss_IndexBinaryIVF_cast)
ENDS(faiss_IndexBinaryIVF_nlist)
ENDS(faiss_IndexBinaryIVF_nprobe)
ENDS(faiss_IndexBinaryIVF_set_nprobe)
ENDS(faiss_IndexBinary_d)
ENDS(faiss_IndexBinary_free)
ENDS(faiss_IndexBinary_metric_type)
ENDS(faiss_IndexBinary_ntotal)
ENDS(faiss_IndexBinary_size)
ENDS(faiss_IndexFlat_cast)
ENDS(faiss_IndexFlat_xb)
ENDS(faiss_IndexIDMap2_cast)
ENDS(faiss_IndexIDMap2_sub_index)
ENDS(faiss_IndexIVF_nlist)
ENDS(faiss_IndexIVF_nprobe)
ENDS(faiss_IndexScalarQuantizer_cast)
ENDS(faiss_Index_is_trained)
ENDS(faiss_Index_metric_type)
ENDS(faiss_RangeSearchResult_free)
ENDS(faiss_RangeSearchResult_labels)
ENDS(faiss_RangeSearchResult_lims)
ENDS(faiss_RangeSearchResult_nq)
ENDS(faiss_SearchParametersIVF_nprobe)
ENDS(faiss_SearchParameters_free)
ENDS(faiss_free_buf)
ENDS(faiss_fvec_renorm_L2)
ENDS(faiss_set_omp_threads)

} // extern "C"
