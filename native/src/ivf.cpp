// IndexIVF_c.h and IndexIVF_c_ex.h.
#include "cast.h"
#include "error.h"
#include "threads.h"

#include <faiss/IndexIVF.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/clone_index.h>

#include <faiss/c_api/IndexIVF_c_ex.h>

#include <algorithm>
#include <memory>
#include <vector>

using vs::cpp;
using vs::guarded;

namespace {

faiss::IndexIVF& ivf(FaissIndexIVF* index) {
    auto* p = dynamic_cast<faiss::IndexIVF*>(cpp(index));
    vs::require(p != nullptr, "not an IVF index");
    return *p;
}

const faiss::IndexIVF& ivf(const FaissIndexIVF* index) {
    auto* p = dynamic_cast<const faiss::IndexIVF*>(cpp(index));
    vs::require(p != nullptr, "not an IVF index");
    return *p;
}

const faiss::IDSelector* selector(const FaissSearchParameters* params) {
    return params ? cpp(params)->sel : nullptr;
}

} // namespace

extern "C" {

size_t faiss_IndexIVF_nlist(const FaissIndexIVF* index) {
    auto* p = dynamic_cast<const faiss::IndexIVF*>(cpp(index));
    return p ? p->nlist : 0;
}

size_t faiss_IndexIVF_nprobe(const FaissIndexIVF* index) {
    auto* p = dynamic_cast<const faiss::IndexIVF*>(cpp(index));
    return p ? p->nprobe : 0;
}

void faiss_IndexIVF_set_nprobe(FaissIndexIVF* index, size_t nprobe) {
    if (auto* p = dynamic_cast<faiss::IndexIVF*>(cpp(index))) {
        p->nprobe = std::clamp<size_t>(nprobe, 1, p->nlist);
    }
}

int faiss_IndexIVF_set_direct_map(FaissIndexIVF* index, int type) {
    return guarded([&] {
        vs::require(type >= 0 && type <= 2, "unknown direct map type");
        ivf(index).set_direct_map_type(faiss::DirectMap::Type(type));
    });
}

int faiss_IndexIVF_list_vector_count(
        const FaissIndexIVF* index, idx_t* counts, size_t nlist,
        const FaissSearchParameters* params) {
    return guarded([&] {
        const faiss::IndexIVF& ix = ivf(index);
        vs::require(nlist == ix.nlist, "wrong number of lists");
        const faiss::IDSelector* sel = selector(params);
        for (size_t l = 0; l < nlist; l++) {
            const size_t n = ix.invlists->list_size(l);
            if (!sel) {
                counts[l] = idx_t(n);
                continue;
            }
            faiss::InvertedLists::ScopedIds ids(ix.invlists, l);
            counts[l] = std::count_if(
                    ids.get(), ids.get() + n, [&](idx_t id) { return sel->is_member(id); });
        }
    });
}

int faiss_IndexIVF_search_closest_eligible_centroids(
        FaissIndexIVF* index, idx_t n, const float* query, idx_t k, float* centroid_distances,
        idx_t* centroid_ids, const FaissSearchParameters* params) {
    return guarded([&] {
        vs::SearchScope scope;
        vs::require(n >= 0 && k > 0, "k and the number of queries must be positive");
        faiss::SearchParameters p;
        p.sel = const_cast<faiss::IDSelector*>(selector(params));
        ivf(index).quantizer->search(
                n, query, k, centroid_distances, centroid_ids, p.sel ? &p : nullptr);
    });
}

int faiss_IndexIVF_search_preassigned_with_params(
        const FaissIndexIVF* index, idx_t n, const float* x, idx_t k, const idx_t* assign,
        const float* centroid_dis, float* distances, idx_t* labels, int store_pairs,
        const FaissSearchParametersIVF* params) {
    return guarded([&] {
        vs::SearchScope scope;
        vs::require(n >= 0 && k > 0, "k and the number of queries must be positive");
        auto* p = params ? dynamic_cast<const faiss::SearchParametersIVF*>(cpp(params)) : nullptr;
        ivf(index).search_preassigned(
                n, x, k, assign, centroid_dis, distances, labels, store_pairs != 0, p);
    });
}

int faiss_IndexIVF_get_centroids_and_cardinality(
        const FaissIndexIVF* index, float* centroids, size_t* cardinality, idx_t* ids) {
    return guarded([&] {
        const faiss::IndexIVF& ix = ivf(index);
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

// The fork of FAISS that go-faiss was written for shares the quantizers; here
// they are copied, so that either index can be freed first.
int faiss_Set_quantizers(FaissIndexIVF* index, FaissIndex* src) {
    return guarded([&] {
        faiss::IndexIVF& dst = ivf(index);
        const faiss::IndexIVF& from = ivf(src);
        vs::require(from.is_trained && dst.ntotal == 0, "source untrained or target not empty");
        vs::require(dst.d == from.d && dst.nlist == from.nlist && dst.code_size == from.code_size &&
                            dst.metric_type == from.metric_type,
                    "indexes do not match");
        auto* dst_sq = dynamic_cast<faiss::IndexIVFScalarQuantizer*>(&dst);
        auto* from_sq = dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(&from);
        vs::require((dst_sq == nullptr) == (from_sq == nullptr), "indexes do not match");
        std::unique_ptr<faiss::Index> copy(faiss::clone_index(from.quantizer));
        if (dst_sq) {
            dst_sq->sq = from_sq->sq;
            dst_sq->by_residual = from_sq->by_residual;
        }
        if (dst.own_fields) {
            delete dst.quantizer;
        }
        dst.quantizer = copy.release();
        dst.own_fields = true;
        dst.is_trained = true;
    });
}

} // extern "C"
