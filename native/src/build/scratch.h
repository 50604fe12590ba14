// What building a graph and carrying one over share.
#pragma once

#include "graph_builder.h"

#include "../error.h"
#include "../kernels/kernels.h"

#include <algorithm>

namespace vs {

inline const faiss::IndexFlat& flat_storage(const faiss::IndexHNSW& index) {
    auto* flat = dynamic_cast<const faiss::IndexFlat*>(index.storage);
    require(flat && index.metric_type == faiss::METRIC_INNER_PRODUCT,
            "not a flat inner product graph");
    require(index.ntotal == 0 && index.hnsw.entry_point < 0, "the graph is not empty");
    return *flat;
}

// Scores the candidates by their stored vectors, best first.
inline void rescore(const float* query, size_t d, std::vector<Hit>& candidates,
                    std::vector<const float*>& rows, std::vector<float>& scores,
                    const float* base) {
    rows.clear();
    for (const Hit& h : candidates) {
        rows.push_back(base + size_t(h.position) * d);
    }
    scores.resize(rows.size());
    kernels().ip_gather(query, rows.data(), rows.size(), d, scores.data());
    for (size_t i = 0; i < candidates.size(); i++) {
        candidates[i].score = scores[i];
    }
    std::sort(candidates.begin(), candidates.end(), Better());
}

// What one thread needs to insert one vector after the other.
struct GraphBuilder::Scratch {
    Scratch(size_t n, size_t links, size_t beam)
        : visited(n), found(beam), ids(links), codes(links), sums(links), scores(links) {}

    Visited visited;
    TopK found;                 // the beam of the current level
    CodeQuery query;
    std::vector<Hit> frontier;  // max-heap of vectors to expand
    std::vector<Id> ids;        // links of one vector, and for each
    std::vector<const uint8_t*> codes;
    std::vector<int32_t> sums;
    std::vector<float> scores;
    std::vector<Hit> candidates; // to choose links among
    std::vector<Hit> chosen;
    std::vector<const float*> rows;
    std::vector<float> similar;
};

} // namespace vs
