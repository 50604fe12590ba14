#include "size.h"

#include <faiss/IndexFlatCodes.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexScalarQuantizer.h>

#include <vector>

namespace vs {
namespace {

template <class T>
size_t heap(const std::vector<T>& v) {
    return v.capacity() * sizeof(T);
}

size_t lists_bytes(const faiss::InvertedLists* lists) {
    if (!lists) {
        return 0;
    }
    size_t total = 0;
    if (auto* array = dynamic_cast<const faiss::ArrayInvertedLists*>(lists)) {
        total += heap(array->codes) + heap(array->ids);
        for (size_t l = 0; l < array->nlist; l++) {
            total += heap(array->codes[l]) + heap(array->ids[l]);
        }
        return total;
    }
    for (size_t l = 0; l < lists->nlist; l++) {
        total += lists->list_size(l) * (lists->code_size + sizeof(faiss::Index::idx_t));
    }
    return total;
}

size_t graph_bytes(const faiss::HNSW& g) {
    return heap(g.levels) + heap(g.offsets) + heap(g.neighbors) +
            heap(g.cum_nneighbor_per_level) + heap(g.assign_probas);
}

} // namespace

size_t resident_bytes(const faiss::Index& index) {
    size_t total = sizeof(index);
    if (auto* codes = dynamic_cast<const faiss::IndexFlatCodes*>(&index)) {
        total += heap(codes->codes);
    }
    if (auto* sq = dynamic_cast<const faiss::IndexScalarQuantizer*>(&index)) {
        total += heap(sq->sq.trained);
    }
    if (auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(&index)) {
        total += graph_bytes(hnsw->hnsw);
        total += hnsw->storage ? resident_bytes(*hnsw->storage) : 0;
    }
    if (auto* ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
        total += lists_bytes(ivf->invlists) + heap(ivf->direct_map.array);
        total += ivf->quantizer ? resident_bytes(*ivf->quantizer) : 0;
    }
    return total;
}

} // namespace vs
