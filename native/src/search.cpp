#include "search.h"

#include "error.h"
#include "threads.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/IDSelector.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace vs {
namespace {

using faiss::Index;
using idx_t = Index::idx_t;

// FAISS wants the parameter class that belongs to the index type, with the
// selector inside; go-faiss hands over the plain one.
std::unique_ptr<faiss::SearchParameters> params_for(
        const Index& index, const faiss::SearchParameters& given, faiss::IDSelector* sel) {
    if (auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(&index)) {
        auto p = std::make_unique<faiss::SearchParametersHNSW>();
        p->sel = sel;
        // A larger efSearch than the index's own has no effect in 1.7.3.
        p->efSearch = hnsw->hnsw.efSearch;
        p->check_relative_distance = hnsw->hnsw.check_relative_distance;
        return p;
    }
    if (auto* ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
        auto p = std::make_unique<faiss::SearchParametersIVF>();
        p->sel = sel;
        p->nprobe = ivf->nprobe;
        p->max_codes = ivf->max_codes;
        if (auto* own = dynamic_cast<const faiss::SearchParametersIVF*>(&given)) {
            p->nprobe = own->nprobe;
            p->max_codes = own->max_codes;
        }
        return p;
    }
    auto p = std::make_unique<faiss::SearchParameters>();
    p->sel = sel;
    return p;
}

// IDMap ignores selectors: select positions of the inner index instead.
void search_mapped(
        const faiss::IndexIDMap& map, idx_t n, const float* x, idx_t k,
        const faiss::SearchParameters& params, float* distances, idx_t* labels) {
    std::vector<uint8_t> bits((map.id_map.size() + 7) / 8);
    for (size_t i = 0; params.sel && i < map.id_map.size(); i++) {
        if (params.sel->is_member(map.id_map[i])) {
            bits[i / 8] |= uint8_t(1u << (i % 8));
        }
    }
    faiss::IDSelectorBitmap inner(bits.size(), bits.data());
    auto p = params_for(*map.index, params, params.sel ? &inner : nullptr);
    map.index->search(n, x, k, distances, labels, p.get());
    for (idx_t i = 0; i < n * k; i++) {
        if (labels[i] >= 0) {
            labels[i] = map.id_map[size_t(labels[i])];
        }
    }
}

} // namespace

void search(
        const Index& index, idx_t n, const float* x, idx_t k,
        const faiss::SearchParameters* params, float* distances, idx_t* labels) {
    require(n >= 0 && k > 0, "k and the number of queries must be positive");
    SearchScope scope;
    if (!params) {
        index.search(n, x, k, distances, labels);
        return;
    }
    if (auto* map = dynamic_cast<const faiss::IndexIDMap*>(&index)) {
        search_mapped(*map, n, x, k, *params, distances, labels);
        return;
    }
    const bool ivf = dynamic_cast<const faiss::IndexIVF*>(&index) != nullptr;
    if (!params->sel && !ivf) {
        index.search(n, x, k, distances, labels);
        return;
    }
    auto p = params_for(index, *params, params->sel);
    index.search(n, x, k, distances, labels, p.get());
}

} // namespace vs
