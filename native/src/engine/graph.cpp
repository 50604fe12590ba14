// Best-first search of an HNSW graph (Malkov and Yashunin, 2016) over the
// arrays that FAISS built or read.
//
// Under a filter the beam keeps only allowed vectors but walks over all of
// them: it ends when no unexplored vector can improve the ef best allowed
// ones, so a rare selection widens the walk instead of losing results.
#include "searcher.h"

#include "../kernels/kernels.h"

namespace vs {
namespace {

using storage_idx = faiss::HNSW::storage_idx_t;

class Walk {
public:
    Walk(const Searcher& s, const faiss::HNSW& g, Visited& visited)
        : s_(s), g_(g), visited_(visited) {
        const size_t links = size_t(g.nb_neighbors(0));
        ids_.resize(links);
        rows_.resize(links);
        scores_.resize(links);
    }

    bool run(const float* q, size_t k, size_t ef, const Allow& allow, int64_t budget,
             float* scores, int64_t* positions);

private:
    Hit descend(const float* q);
    size_t unvisited_neighbours(int64_t of);

    const Searcher& s_;
    const faiss::HNSW& g_;
    Visited& visited_;
    int64_t computed_ = 0;
    std::vector<storage_idx> ids_;
    std::vector<const float*> rows_;
    std::vector<float> scores_;
    std::vector<Hit> frontier_; // max-heap of vectors to expand
};

bool worse(const Hit& a, const Hit& b) {
    return better(b, a);
}

// Greedy steps through the upper levels; the level-0 entry point.
Hit Walk::descend(const float* q) {
    const float* row = s_.row(g_.entry_point);
    Hit at{0, g_.entry_point};
    kernels().ip_gather(q, &row, 1, s_.dims(), &at.score);
    for (int level = g_.max_level; level > 0; level--) {
        for (bool moved = true; moved;) {
            moved = false;
            size_t begin, end;
            g_.neighbor_range(at.position, level, &begin, &end);
            size_t n = 0;
            for (size_t i = begin; i < end && g_.neighbors[i] >= 0; i++, n++) {
                ids_[n] = g_.neighbors[i];
                rows_[n] = s_.row(ids_[n]);
            }
            kernels().ip_gather(q, rows_.data(), n, s_.dims(), scores_.data());
            computed_ += int64_t(n);
            for (size_t i = 0; i < n; i++) {
                if (scores_[i] > at.score) {
                    at = Hit{scores_[i], ids_[i]};
                    moved = true;
                }
            }
        }
    }
    return at;
}

size_t Walk::unvisited_neighbours(int64_t of) {
    size_t begin, end;
    g_.neighbor_range(of, 0, &begin, &end);
    for (size_t i = begin; i < end && g_.neighbors[i] >= 0; i++) {
        visited_.prefetch(size_t(g_.neighbors[i]));
    }
    size_t n = 0;
    for (size_t i = begin; i < end && g_.neighbors[i] >= 0; i++) {
        const storage_idx id = g_.neighbors[i];
        if (visited_.visit(size_t(id))) {
            ids_[n] = id;
            rows_[n] = s_.row(id);
            __builtin_prefetch(rows_[n]);
            n++;
        }
    }
    return n;
}

bool Walk::run(const float* q, size_t k, size_t ef, const Allow& allow, int64_t budget,
               float* scores, int64_t* positions) {
    computed_ = 0;
    frontier_.clear();
    visited_.next_search();
    TopK best(std::max(ef, k));
    const Hit entry = descend(q);
    visited_.visit(size_t(entry.position));
    frontier_.push_back(entry);
    if (allow.all() || allow.has(entry.position)) {
        best.push(entry.score, entry.position);
    }
    while (!frontier_.empty()) {
        const Hit next = frontier_.front();
        if (next.score < best.threshold()) {
            break;
        }
        std::pop_heap(frontier_.begin(), frontier_.end(), worse);
        frontier_.pop_back();
        const size_t n = unvisited_neighbours(next.position);
        kernels().ip_gather(q, rows_.data(), n, s_.dims(), scores_.data());
        computed_ += int64_t(n);
        if (budget > 0 && computed_ > budget) {
            return false;
        }
        for (size_t i = 0; i < n; i++) {
            if (scores_[i] > best.threshold()) {
                frontier_.push_back(Hit{scores_[i], ids_[i]});
                std::push_heap(frontier_.begin(), frontier_.end(), worse);
                if (allow.all() || allow.has(ids_[i])) {
                    best.push(scores_[i], ids_[i]);
                }
            }
        }
    }
    best.take_first(k, scores, positions);
    return true;
}

} // namespace

bool Searcher::search_graph(
        const Queries& q, int64_t ef, const Allow& allow, int64_t budget) const {
    if (n_ == 0) {
        scan_selected(q, nullptr, 0);
        return true;
    }
    auto visited = visited_.take(size_t(n_));
    Walk walk(*this, hnsw_->hnsw, *visited);
    bool complete = true;
    for (int64_t i = 0; i < q.n && complete; i++) {
        complete = walk.run(
                q.rows + size_t(i) * d_, size_t(q.k), size_t(ef), allow, budget,
                q.scores + i * q.k, q.positions + i * q.k);
    }
    visited_.give(std::move(visited));
    return complete;
}

} // namespace vs
