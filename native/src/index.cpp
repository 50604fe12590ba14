// The calls that every float index answers: Index_c.h, Index_c_ex.h,
// IndexFlat_c.h, MetaIndexes_c.h and utils/distances_c.h.
#include "cast.h"
#include "error.h"
#include "search.h"
#include "size.h"
#include "threads.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/utils/distances.h>

#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/IndexIVF_c.h>
#include <faiss/c_api/IndexScalarQuantizer_c.h>
#include <faiss/c_api/Index_c_ex.h>
#include <faiss/c_api/MetaIndexes_c.h>
#include <faiss/c_api/utils/distances_c.h>

#include <memory>
#include <vector>

using vs::cpp;
using vs::guarded;

namespace {

template <class T>
FaissIndex* cast_to(FaissIndex* index) {
    return vs::c(dynamic_cast<T*>(cpp(index)));
}

void check_key(const faiss::Index& index, idx_t key) {
    // An IDMap2 or an IVF index with a hash map answers for arbitrary keys and
    // checks them itself; the others would read outside their codes.
    const bool positional = dynamic_cast<const faiss::IndexFlatCodes*>(&index) ||
            dynamic_cast<const faiss::IndexHNSW*>(&index);
    vs::require(!positional || (key >= 0 && key < index.ntotal), "key out of range");
}

// HNSW graphs cannot be concatenated: the vectors of src are added again.
void append_vectors(faiss::Index& dst, const faiss::Index& src) {
    constexpr idx_t kBlock = 1024;
    std::vector<float> rows(size_t(kBlock) * src.d);
    for (idx_t at = 0; at < src.ntotal; at += kBlock) {
        const idx_t n = std::min<idx_t>(kBlock, src.ntotal - at);
        src.reconstruct_n(at, n, rows.data());
        dst.add(n, rows.data());
    }
}

} // namespace

extern "C" {

void faiss_Index_free(FaissIndex* index) {
    delete cpp(index);
}

int faiss_Index_d(const FaissIndex* index) {
    return int(cpp(index)->d);
}

int faiss_Index_is_trained(const FaissIndex* index) {
    return cpp(index)->is_trained;
}

idx_t faiss_Index_ntotal(const FaissIndex* index) {
    return cpp(index)->ntotal;
}

FaissMetricType faiss_Index_metric_type(const FaissIndex* index) {
    return FaissMetricType(cpp(index)->metric_type);
}

size_t faiss_Index_size(const FaissIndex* index) {
    return vs::resident_bytes(*cpp(index));
}

int faiss_Index_train(FaissIndex* index, idx_t n, const float* x) {
    return guarded([&] {
        vs::BuildScope scope;
        cpp(index)->train(n, x);
    });
}

int faiss_Index_add(FaissIndex* index, idx_t n, const float* x) {
    return guarded([&] {
        vs::BuildScope scope;
        cpp(index)->add(n, x);
    });
}

int faiss_Index_add_with_ids(FaissIndex* index, idx_t n, const float* x, const idx_t* xids) {
    return guarded([&] {
        vs::BuildScope scope;
        cpp(index)->add_with_ids(n, x, xids);
    });
}

int faiss_Index_search(
        const FaissIndex* index, idx_t n, const float* x, idx_t k,
        float* distances, idx_t* labels) {
    return guarded([&] { vs::search(*cpp(index), n, x, k, nullptr, distances, labels); });
}

int faiss_Index_search_with_params(
        const FaissIndex* index, idx_t n, const float* x, idx_t k,
        const FaissSearchParameters* params, float* distances, idx_t* labels) {
    return guarded([&] { vs::search(*cpp(index), n, x, k, cpp(params), distances, labels); });
}

int faiss_Index_range_search(
        const FaissIndex* index, idx_t n, const float* x, float radius,
        FaissRangeSearchResult* result) {
    return guarded([&] {
        vs::SearchScope scope;
        cpp(index)->range_search(
                n, x, radius, reinterpret_cast<faiss::RangeSearchResult*>(result));
    });
}

int faiss_Index_reset(FaissIndex* index) {
    return guarded([&] { cpp(index)->reset(); });
}

int faiss_Index_remove_ids(FaissIndex* index, const FaissIDSelector* sel, size_t* n_removed) {
    return guarded([&] {
        vs::SearchScope scope;
        const size_t removed = cpp(index)->remove_ids(*cpp(sel));
        if (n_removed) {
            *n_removed = removed;
        }
    });
}

int faiss_Index_reconstruct(const FaissIndex* index, idx_t key, float* recons) {
    return guarded([&] {
        check_key(*cpp(index), key);
        cpp(index)->reconstruct(key, recons);
    });
}

int faiss_Index_reconstruct_batch(
        const FaissIndex* index, idx_t n, const idx_t* keys, float* recons) {
    return guarded([&] {
        const faiss::Index& ix = *cpp(index);
        for (idx_t i = 0; i < n; i++) {
            check_key(ix, keys[i]);
            ix.reconstruct(keys[i], recons + i * ix.d);
        }
    });
}

int faiss_Index_merge_from(FaissIndex* index, FaissIndex* other, idx_t add_id) {
    return guarded([&] {
        vs::BuildScope scope;
        faiss::Index& dst = *cpp(index);
        faiss::Index& src = *cpp(other);
        vs::require(&dst != &src, "an index cannot be merged into itself");
        vs::require(dst.d == src.d && dst.metric_type == src.metric_type,
                    "indexes of different dimension or metric");
        if (dynamic_cast<faiss::IndexHNSW*>(&dst) || dynamic_cast<faiss::IndexFlat*>(&dst)) {
            vs::require(add_id == 0, "this index has no ids to shift");
            append_vectors(dst, src);
            src.reset();
            return;
        }
        dst.merge_from(src, add_id);
    });
}

int faiss_Index_dist_compute(
        const FaissIndex* index, const float* x, const idx_t* ids, size_t n, float* distances) {
    return guarded([&] {
        vs::SearchScope scope;
        const faiss::Index& ix = *cpp(index);
        std::vector<float> row(ix.d);
        const bool ip = ix.metric_type == faiss::METRIC_INNER_PRODUCT;
        vs::require(ip || ix.metric_type == faiss::METRIC_L2, "metric not supported");
        for (size_t i = 0; i < n; i++) {
            check_key(ix, ids[i]);
            ix.reconstruct(ids[i], row.data());
            distances[i] = ip ? faiss::fvec_inner_product(x, row.data(), ix.d)
                              : faiss::fvec_L2sqr(x, row.data(), ix.d);
        }
    });
}

void faiss_set_omp_threads(unsigned int n) {
    vs::set_build_threads(int(n));
}

int faiss_IndexFlat_new_with(FaissIndexFlat** p_index, idx_t d, FaissMetricType metric) {
    return guarded([&] {
        vs::require(d > 0 && d <= vs::kMaxDims, "dimension out of range");
        *p_index = vs::c(new faiss::IndexFlat(d, faiss::MetricType(metric)));
    });
}

void faiss_IndexFlat_xb(FaissIndexFlat* index, float** p_xb, size_t* p_size) {
    auto* flat = dynamic_cast<faiss::IndexFlat*>(cpp(index));
    *p_xb = flat ? flat->get_xb() : nullptr;
    *p_size = flat ? flat->codes.size() / sizeof(float) : 0;
}

FaissIndexFlat* faiss_IndexFlat_cast(FaissIndex* index) {
    return cast_to<faiss::IndexFlat>(index);
}

FaissIndexIVF* faiss_IndexIVF_cast(FaissIndex* index) {
    return cast_to<faiss::IndexIVF>(index);
}

FaissIndexScalarQuantizer* faiss_IndexScalarQuantizer_cast(FaissIndex* index) {
    return cast_to<faiss::IndexScalarQuantizer>(index);
}

FaissIndexIDMap2* faiss_IndexIDMap2_cast(FaissIndex* index) {
    return cast_to<faiss::IndexIDMap2>(index);
}

FaissIndex* faiss_IndexIDMap2_sub_index(FaissIndexIDMap2* index) {
    auto* map = dynamic_cast<faiss::IndexIDMap2*>(cpp(index));
    return map ? vs::c(map->index) : nullptr;
}

void faiss_fvec_renorm_L2(size_t d, size_t nx, float* x) {
    vs::SearchScope scope;
    faiss::fvec_renorm_L2(d, nx, x);
}

} // extern "C"
