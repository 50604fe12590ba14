#include "validate.h"

#include "../error.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexScalarQuantizer.h>

#include <cmath>
#include <vector>

namespace vs {
namespace {

constexpr int kMaxLinks = 1 << 12; // links of one vector over all levels
constexpr int kMaxBeam = 1 << 20;

void check_codes(const faiss::Index& outer, const faiss::Index* inner, faiss::Index::idx_t rows) {
    auto* codes = dynamic_cast<const faiss::IndexFlatCodes*>(inner);
    require(codes != nullptr, "storage type not allowed");
    require(codes->d == outer.d && codes->ntotal == rows, "storage of another shape");
    require(codes->codes.size() == size_t(rows) * codes->code_size, "wrong number of codes");
}

void check_quantizer(const faiss::ScalarQuantizer& sq) {
    for (float v : sq.trained) {
        require(std::isfinite(v), "quantizer range not finite");
    }
}

void check_levels(const faiss::HNSW& g, size_t n) {
    const auto& cum = g.cum_nneighbor_per_level;
    const int levels = int(cum.size()) - 1;
    require(levels >= 1 && cum[0] == 0, "wrong graph levels");
    for (int l = 0; l < levels; l++) {
        // Searches size their buffers by the ground level.
        require(cum[l + 1] >= cum[l] && cum[l + 1] <= kMaxLinks &&
                        cum[l + 1] - cum[l] <= cum[1],
                "wrong number of links");
    }
    require(cum[1] > 0, "wrong number of links");
    for (double p : g.assign_probas) {
        require(p >= 0 && p <= 1, "wrong level probabilities");
    }
    require(g.levels.size() == n && g.offsets.size() == n + 1 && g.offsets[0] == 0,
            "wrong graph size");
    for (size_t i = 0; i < n; i++) {
        require(g.levels[i] >= 1 && g.levels[i] <= levels, "level out of range");
        require(g.offsets[i + 1] - g.offsets[i] == size_t(cum[g.levels[i]]), "wrong offset");
    }
    require(g.offsets[n] == g.neighbors.size(), "wrong number of links");
}

void check_links(const faiss::HNSW& g, size_t n) {
    for (size_t i = 0; i < n; i++) {
        for (int l = 0; l < g.levels[i]; l++) {
            const size_t begin = g.offsets[i] + size_t(g.cum_nneighbor_per_level[l]);
            const size_t end = g.offsets[i] + size_t(g.cum_nneighbor_per_level[l + 1]);
            for (size_t j = begin; j < end; j++) {
                const int to = g.neighbors[j];
                require(to >= -1 && to < int64_t(n), "link out of range");
                // A step on level l reads the links of level l there.
                require(l == 0 || to < 0 || g.levels[size_t(to)] > l, "link to a lower level");
            }
        }
    }
}

void check_graph(const faiss::IndexHNSW& index) {
    const faiss::HNSW& g = index.hnsw;
    const size_t n = size_t(index.ntotal);
    check_levels(g, n);
    check_links(g, n);
    if (n == 0) {
        require(g.entry_point == -1 && g.max_level == -1, "entry into an empty graph");
    } else {
        require(g.entry_point >= 0 && size_t(g.entry_point) < n, "entry point out of range");
        require(g.max_level >= 0 && g.max_level < g.levels[size_t(g.entry_point)],
                "graph level out of range");
    }
    require(g.efConstruction >= 1 && g.efConstruction <= kMaxBeam && g.efSearch >= 1 &&
                    g.efSearch <= kMaxBeam && g.upper_beam == 1,
            "beam width out of range");
    check_codes(index, index.storage, index.ntotal);
}

// Every position 0..n-1 in exactly one list.
void check_lists(const faiss::InvertedLists* lists, size_t nlist, size_t code_size, size_t n) {
    auto* array = dynamic_cast<const faiss::ArrayInvertedLists*>(lists);
    require(array != nullptr, "type of inverted lists not allowed");
    require(array->nlist == nlist && array->code_size == code_size, "wrong inverted lists");
    std::vector<bool> seen(n);
    size_t total = 0;
    for (size_t l = 0; l < nlist; l++) {
        require(array->codes[l].size() == array->ids[l].size() * code_size, "wrong list size");
        for (const auto id : array->ids[l]) {
            require(id >= 0 && size_t(id) < n && !seen[size_t(id)], "ids are not positions");
            seen[size_t(id)] = true;
        }
        total += array->ids[l].size();
    }
    require(total == n, "wrong number of entries");
}

void check_direct_map(
        const faiss::DirectMap& map, const faiss::InvertedLists& lists, size_t n) {
    require(map.type != faiss::DirectMap::Hashtable, "direct map type not allowed");
    require(map.array.size() == (map.type == faiss::DirectMap::Array ? n : 0),
            "wrong size of the direct map");
    for (size_t i = 0; i < map.array.size(); i++) {
        const uint64_t at = uint64_t(map.array[i]);
        require(faiss::lo_listno(at) < lists.nlist, "direct map entry out of range");
        const size_t list = size_t(faiss::lo_listno(at));
        require(faiss::lo_offset(at) < lists.list_size(list) &&
                        lists.get_single_id(list, faiss::lo_offset(at)) == int64_t(i),
                "direct map entry out of range");
    }
}

void check_ivf(const faiss::IndexIVF& ivf) {
    require(ivf.quantizer && ivf.nlist >= 1 && size_t(ivf.quantizer->ntotal) == ivf.nlist,
            "wrong coarse quantizer");
    require(ivf.nprobe >= 1 && ivf.nprobe <= ivf.nlist, "number of probes out of range");
    check_lists(ivf.invlists, ivf.nlist, ivf.code_size, size_t(ivf.ntotal));
    check_direct_map(ivf.direct_map, *ivf.invlists, size_t(ivf.ntotal));
}

} // namespace

void validate(const faiss::Index& index) {
    if (auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(&index)) {
        check_graph(*hnsw);
        if (auto* sq = dynamic_cast<const faiss::IndexScalarQuantizer*>(hnsw->storage)) {
            check_quantizer(sq->sq);
        }
        return;
    }
    if (auto* ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
        check_ivf(*ivf);
        require(dynamic_cast<const faiss::IndexFlat*>(ivf->quantizer), "coarse quantizer not flat");
        check_codes(index, ivf->quantizer, faiss::Index::idx_t(ivf->nlist));
        if (auto* sq = dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(ivf)) {
            check_quantizer(sq->sq);
        }
        return;
    }
    check_codes(index, &index, index.ntotal);
}

} // namespace vs
