// Binary indexes. FAISS 1.7.3 ignores selectors here, so filtered searches
// rank everything and keep what the selector accepts.
#include "cast.h"
#include "error.h"
#include "size.h"
#include "threads.h"

#include <faiss/IndexBinaryIVF.h>
#include <faiss/IndexIVF.h>

#include <faiss/c_api/IndexBinaryIVF_c_ex.h>
#include <faiss/c_api/IndexBinary_c_ex.h>

#include <algorithm>
#include <limits>
#include <vector>

using vs::cpp;
using vs::guarded;

namespace {

faiss::IndexBinaryIVF& ivf(FaissIndexBinaryIVF* index) {
    auto* p = dynamic_cast<faiss::IndexBinaryIVF*>(cpp(index));
    vs::require(p != nullptr, "not a binary IVF index");
    return *p;
}

const faiss::IndexBinaryIVF& ivf(const FaissIndexBinaryIVF* index) {
    return ivf(const_cast<FaissIndexBinaryIVF*>(index));
}

const faiss::IDSelector* selector(const FaissSearchParameters* params) {
    return params ? cpp(params)->sel : nullptr;
}

// Keeps the first k accepted of the ranked candidates, then pads.
void keep_accepted(
        const faiss::IDSelector& sel, const std::vector<int32_t>& d,
        const std::vector<idx_t>& ids, idx_t k, int32_t* distances, idx_t* labels) {
    idx_t kept = 0;
    for (size_t i = 0; i < ids.size() && kept < k; i++) {
        if (ids[i] >= 0 && sel.is_member(ids[i])) {
            distances[kept] = d[i];
            labels[kept++] = ids[i];
        }
    }
    std::fill(distances + kept, distances + k, std::numeric_limits<int32_t>::max());
    std::fill(labels + kept, labels + k, -1);
}

// rank(query, all, d, ids) fills the complete ranking of one query.
template <class Rank>
void filtered(
        idx_t n, idx_t code_size, idx_t all, const uint8_t* x, idx_t k,
        const faiss::IDSelector& sel, int32_t* distances, idx_t* labels, Rank rank) {
    std::vector<int32_t> d(all);
    std::vector<idx_t> ids(all);
    for (idx_t q = 0; q < n; q++) {
        if (all > 0) {
            rank(x + q * code_size, d.data(), ids.data());
        }
        keep_accepted(sel, d, ids, k, distances + q * k, labels + q * k);
    }
}

} // namespace

extern "C" {

void faiss_IndexBinary_free(FaissIndexBinary* index) {
    delete cpp(index);
}

int faiss_IndexBinary_d(const FaissIndexBinary* index) {
    return int(cpp(index)->d);
}

idx_t faiss_IndexBinary_ntotal(const FaissIndexBinary* index) {
    return cpp(index)->ntotal;
}

FaissMetricType faiss_IndexBinary_metric_type(const FaissIndexBinary* index) {
    return FaissMetricType(cpp(index)->metric_type);
}

size_t faiss_IndexBinary_size(const FaissIndexBinary* index) {
    return vs::resident_bytes(*cpp(index));
}

int faiss_IndexBinary_train(FaissIndexBinary* index, idx_t n, const uint8_t* x) {
    return guarded([&] {
        vs::BuildScope scope;
        cpp(index)->train(n, x);
    });
}

int faiss_IndexBinary_add(FaissIndexBinary* index, idx_t n, const uint8_t* x) {
    return guarded([&] {
        vs::BuildScope scope;
        cpp(index)->add(n, x);
    });
}

int faiss_IndexBinary_search(
        const FaissIndexBinary* index, idx_t n, const uint8_t* x, idx_t k, int32_t* distances,
        idx_t* labels) {
    return guarded([&] {
        vs::SearchScope scope;
        vs::require(n >= 0 && k > 0, "k and the number of queries must be positive");
        cpp(index)->search(n, x, k, distances, labels);
    });
}

int faiss_IndexBinary_search_with_params(
        const FaissIndexBinary* index, idx_t n, const uint8_t* x, idx_t k,
        const FaissSearchParameters* params, int32_t* distances, idx_t* labels) {
    const faiss::IDSelector* sel = selector(params);
    if (!sel) {
        return faiss_IndexBinary_search(index, n, x, k, distances, labels);
    }
    return guarded([&] {
        vs::SearchScope scope;
        vs::require(n >= 0 && k > 0, "k and the number of queries must be positive");
        const faiss::IndexBinary& ix = *cpp(index);
        filtered(n, ix.code_size, ix.ntotal, x, k, *sel, distances, labels,
                 [&](const uint8_t* q, int32_t* d, idx_t* ids) {
                     ix.search(1, q, ix.ntotal, d, ids);
                 });
    });
}

FaissIndexBinaryIVF* faiss_IndexBinaryIVF_cast(FaissIndexBinary* index) {
    return vs::c(static_cast<faiss::IndexBinary*>(
            dynamic_cast<faiss::IndexBinaryIVF*>(cpp(index))));
}

size_t faiss_IndexBinaryIVF_nlist(const FaissIndexBinaryIVF* index) {
    auto* p = dynamic_cast<const faiss::IndexBinaryIVF*>(cpp(index));
    return p ? p->nlist : 0;
}

size_t faiss_IndexBinaryIVF_nprobe(const FaissIndexBinaryIVF* index) {
    auto* p = dynamic_cast<const faiss::IndexBinaryIVF*>(cpp(index));
    return p ? p->nprobe : 0;
}

void faiss_IndexBinaryIVF_set_nprobe(FaissIndexBinaryIVF* index, size_t nprobe) {
    if (auto* p = dynamic_cast<faiss::IndexBinaryIVF*>(cpp(index))) {
        p->nprobe = std::clamp<size_t>(nprobe, 1, p->nlist);
    }
}

int faiss_IndexBinaryIVF_set_direct_map(FaissIndexBinaryIVF* index, int type) {
    return guarded([&] {
        vs::require(type >= 0 && type <= 2, "unknown direct map type");
        ivf(index).set_direct_map_type(faiss::DirectMap::Type(type));
    });
}

int faiss_IndexBinaryIVF_list_vector_count(
        const FaissIndexBinaryIVF* index, idx_t* counts, size_t nlist,
        const FaissSearchParameters* params) {
    return guarded([&] {
        const faiss::IndexBinaryIVF& ix = ivf(index);
        vs::require(nlist == ix.nlist, "wrong number of lists");
        const faiss::IDSelector* sel = selector(params);
        for (size_t l = 0; l < nlist; l++) {
            const size_t n = ix.invlists->list_size(l);
            faiss::InvertedLists::ScopedIds ids(ix.invlists, l);
            counts[l] = sel ? std::count_if(ids.get(), ids.get() + n,
                                            [&](idx_t id) { return sel->is_member(id); })
                            : idx_t(n);
        }
    });
}

int faiss_IndexBinaryIVF_search_closest_eligible_centroids(
        FaissIndexBinaryIVF* index, idx_t n, const uint8_t* query, idx_t k,
        int32_t* centroid_distances, idx_t* centroid_ids, const FaissSearchParameters* params) {
    return guarded([&] {
        vs::SearchScope scope;
        vs::require(n >= 0 && k > 0, "k and the number of queries must be positive");
        const faiss::IndexBinary& q = *ivf(index).quantizer;
        const faiss::IDSelector* sel = selector(params);
        if (!sel) {
            q.search(n, query, k, centroid_distances, centroid_ids);
            return;
        }
        filtered(n, q.code_size, q.ntotal, query, k, *sel, centroid_distances, centroid_ids,
                 [&](const uint8_t* x, int32_t* d, idx_t* ids) {
                     q.search(1, x, q.ntotal, d, ids);
                 });
    });
}

int faiss_IndexBinaryIVF_search_preassigned_with_params(
        const FaissIndexBinaryIVF* index, idx_t n, const uint8_t* x, idx_t k,
        const idx_t* assign, const int32_t* centroid_dis, int32_t* distances, idx_t* labels,
        int store_pairs, const FaissSearchParametersIVF* params) {
    return guarded([&] {
        vs::SearchScope scope;
        vs::require(n >= 0 && k > 0, "k and the number of queries must be positive");
        const faiss::IndexBinaryIVF& ix = ivf(index);
        auto* p = params ? dynamic_cast<const faiss::SearchParametersIVF*>(cpp(params)) : nullptr;
        const faiss::IDSelector* sel = params ? cpp(params)->sel : nullptr;
        if (!sel) {
            ix.search_preassigned(
                    n, x, k, assign, centroid_dis, distances, labels, store_pairs != 0, p);
            return;
        }
        vs::require(store_pairs == 0, "pairs cannot be filtered");
        const idx_t nprobe = idx_t(p ? p->nprobe : ix.nprobe);
        idx_t q = 0;
        filtered(n, ix.code_size, ix.ntotal, x, k, *sel, distances, labels,
                 [&](const uint8_t* one, int32_t* d, idx_t* ids) {
                     ix.search_preassigned(
                             1, one, ix.ntotal, assign + q * nprobe, centroid_dis + q * nprobe, d,
                             ids, false, p);
                     q++;
                 });
    });
}

int faiss_IndexBinaryIVF_get_centroids_and_cardinality(
        const FaissIndexBinaryIVF* index, uint8_t* centroids, size_t* cardinality, idx_t* ids) {
    return guarded([&] {
        const faiss::IndexBinaryIVF& ix = ivf(index);
        vs::require(size_t(ix.quantizer->ntotal) == ix.nlist, "the index is not trained");
        ix.quantizer->reconstruct_n(0, ix.nlist, centroids);
        for (size_t l = 0; l < ix.nlist; l++) {
            cardinality[l] = ix.invlists->list_size(l);
            if (ids) {
                ids[l] = idx_t(l);
            }
        }
    });
}

} // extern "C"
