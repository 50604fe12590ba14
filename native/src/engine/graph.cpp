// Best-first search of an HNSW graph (Malkov and Yashunin, 2016) over the
// arrays that FAISS built or read.
//
// The walk scores by 8-bit codes when the searcher has them, and the beam it
// ends with is scored again by the stored vectors: a quarter of the memory
// traffic for the thousands of vectors looked at, exact scores for the results.
//
// Only the first of equal vectors is in the graph (copies.h): the beam counts
// distinct vectors, and each brings those equal to it along.
//
// Under a filter the beam keeps only allowed vectors but walks over all of
// them: it ends when no unexplored vector can improve the ef best allowed
// ones, so a rare selection widens the walk instead of losing results.
#include "searcher.h"

#include "../kernels/kernels.h"

namespace vs {
namespace {

using storage_idx = faiss::HNSW::storage_idx_t;

// Scores of stored vectors, either by themselves or by their codes.
class FloatScorer {
public:
    FloatScorer(const Searcher& s, size_t links) : s_(s), rows_(links) {}

    void start(const float* q) {
        q_ = q;
    }
    void add(size_t slot, storage_idx id) {
        rows_[slot] = reinterpret_cast<const float*>(s_.stored(id));
        __builtin_prefetch(rows_[slot]);
    }
    void score(size_t n, float* out) {
        kernels().ip_gather(q_, rows_.data(), n, s_.dims(), out);
    }

private:
    const Searcher& s_;
    const float* q_ = nullptr;
    std::vector<const float*> rows_;
};

class CodeScorer {
public:
    CodeScorer(const Searcher& s, size_t links) : s_(s), rows_(links), sums_(links) {}

    void start(const float* q) {
        s_.range().prepare(q, q_);
    }
    void add(size_t slot, storage_idx id) {
        rows_[slot] = s_.code(id);
        prefetch_row(rows_[slot], s_.dims());
    }
    void score(size_t n, float* out) {
        kernels().u8_gather(q_.w.data(), rows_.data(), n, s_.dims(), sums_.data());
        for (size_t i = 0; i < n; i++) {
            out[i] = q_.bias + q_.scale * float(sums_[i]);
        }
    }

private:
    const Searcher& s_;
    CodeQuery q_;
    std::vector<const uint8_t*> rows_;
    std::vector<int32_t> sums_;
};

template <class Scorer>
class Walk {
public:
    Walk(const Searcher& s, const faiss::HNSW& g, Visited& visited)
        : s_(s), g_(g), visited_(visited), ids_(links()), scores_(links()), scorer_(s, links()) {}

    // Leaves the best allowed vectors in best. False when out of budget.
    bool run(const float* q, const Allow& allow, int64_t budget, TopK& best);

private:
    size_t links() const {
        return std::max<size_t>(1, size_t(g_.nb_neighbors(0)));
    }
    Hit descend();
    size_t neighbours(int64_t of, int level);
    size_t unvisited(int64_t of);

    // The links of a vector on the ground level; a negative one ends them.
    const storage_idx* ground(int64_t of) const {
        return g_.neighbors.data() + g_.offsets[size_t(of)];
    }
    void prefetch_links(int64_t of) const {
        const char* from = reinterpret_cast<const char*>(ground(of));
        for (size_t at = 0; at < ids_.size() * sizeof(storage_idx); at += 64) {
            __builtin_prefetch(from + at);
        }
    }

    const Searcher& s_;
    const faiss::HNSW& g_;
    Visited& visited_;
    int64_t computed_ = 0;
    std::vector<storage_idx> ids_;
    std::vector<float> scores_;
    Scorer scorer_;
    std::vector<Hit> frontier_; // max-heap of vectors to expand
};

template <class Scorer>
size_t Walk<Scorer>::neighbours(int64_t of, int level) {
    size_t begin, end, n = 0;
    g_.neighbor_range(of, level, &begin, &end);
    for (size_t i = begin; i < end && g_.neighbors[i] >= 0; i++) {
        ids_[n] = g_.neighbors[i];
        scorer_.add(n, ids_[n]);
        n++;
    }
    return n;
}

// Greedy steps through the upper levels; the level-0 entry point.
template <class Scorer>
Hit Walk<Scorer>::descend() {
    Hit at{0, g_.entry_point};
    scorer_.add(0, g_.entry_point);
    scorer_.score(1, &at.score);
    for (int level = g_.max_level; level > 0; level--) {
        for (bool moved = true; moved;) {
            moved = false;
            const size_t n = neighbours(at.position, level);
            scorer_.score(n, scores_.data());
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

template <class Scorer>
size_t Walk<Scorer>::unvisited(int64_t of) {
    const storage_idx* links = ground(of);
    size_t all = 0, n = 0;
    for (; all < ids_.size() && links[all] >= 0; all++) {
        visited_.prefetch(size_t(links[all]));
    }
    // Without a branch: which ones are new cannot be predicted.
    for (size_t i = 0; i < all; i++) {
        ids_[n] = links[i];
        n += visited_.visit(size_t(links[i]));
    }
    for (size_t i = 0; i < n; i++) {
        scorer_.add(i, ids_[i]);
    }
    return n;
}

template <class Scorer>
bool Walk<Scorer>::run(const float* q, const Allow& allow, int64_t budget, TopK& best) {
    computed_ = 0;
    frontier_.clear();
    visited_.next_search();
    scorer_.start(q);
    const Hit entry = descend();
    visited_.visit(size_t(entry.position));
    frontier_.push_back(entry);
    if (allow.all() || s_.allowed(allow, entry.position)) {
        best.push(entry.score, entry.position);
    }
    while (!frontier_.empty() && frontier_.front().score >= best.threshold()) {
        const Hit next = frontier_.front();
        std::pop_heap(frontier_.begin(), frontier_.end(), Worse());
        frontier_.pop_back();
        const size_t n = unvisited(next.position);
        if (!frontier_.empty()) {
            prefetch_links(frontier_.front().position); // often the next one
        }
        scorer_.score(n, scores_.data());
        computed_ += int64_t(n);
        if (budget > 0 && computed_ > budget) {
            return false;
        }
        const auto top = std::max_element(scores_.begin(), scores_.begin() + ptrdiff_t(n));
        if (n > 0 && (frontier_.empty() || *top > frontier_.front().score)) {
            prefetch_links(ids_[size_t(top - scores_.begin())]); // surely
        }
        for (size_t i = 0; i < n; i++) {
            if (scores_[i] > best.threshold()) {
                __builtin_prefetch(&g_.offsets[size_t(ids_[i])]);
                frontier_.push_back(Hit{scores_[i], ids_[i]});
                std::push_heap(frontier_.begin(), frontier_.end(), Worse());
                if (allow.all() || s_.allowed(allow, ids_[i])) {
                    best.push(scores_[i], ids_[i]);
                }
            }
        }
    }
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
    TopK beam(size_t(std::max(ef, q.k))), best(size_t(q.k));
    ExactQuery exact_query;
    const auto each = [&](auto& walk, bool exact) {
        for (int64_t i = 0; i < q.n; i++) {
            const float* query = q.rows + size_t(i) * d_;
            if (!walk.run(query, allow, budget, beam)) {
                return false;
            }
            if (exact && next_.empty()) {
                beam.take_first(size_t(q.k), q.scores + i * q.k, q.positions + i * q.k);
                continue;
            }
            if (exact) {
                for (const Hit& h : beam.hits()) {
                    expand(h, allow, best);
                }
                beam.clear();
            } else {
                prepare(query, exact_query);
                rescore(exact_query, beam, allow, best);
            }
            best.take(q.scores + i * q.k, q.positions + i * q.k);
        }
        return true;
    };
    bool complete;
    if (codes_ || !floats_) {
        Walk<CodeScorer> walk(*this, hnsw_->hnsw, *visited);
        complete = each(walk, false);
    } else {
        Walk<FloatScorer> walk(*this, hnsw_->hnsw, *visited);
        complete = each(walk, true);
    }
    visited_.give(std::move(visited));
    return complete;
}

} // namespace vs
