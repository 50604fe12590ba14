// Exhaustive scans.
#include "searcher.h"

#include "../kernels/kernels.h"

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace vs {
namespace {

// Rows whose scores are computed before they are ranked: they stay in the
// second-level cache while every group of queries passes over them.
constexpr size_t kBlockBytes = 192 << 10;

size_t block_rows(size_t d) {
    return std::clamp<size_t>(kBlockBytes / (d * sizeof(float)), 16, 1024);
}

std::vector<TopK> collectors(const Queries& q) {
    return std::vector<TopK>(size_t(q.n), TopK(size_t(q.k)));
}

void finish(const Queries& q, std::vector<TopK>& best) {
    for (int64_t i = 0; i < q.n; i++) {
        best[size_t(i)].take(q.scores + i * q.k, q.positions + i * q.k);
    }
}

} // namespace

void Searcher::scan_block(
        const float* q, size_t nq, std::vector<TopK>& best, int64_t begin, int64_t end) const {
    const size_t step = block_rows(d_);
    std::vector<float> scores(nq * step);
    for (int64_t at = begin; at < end; at += int64_t(step)) {
        const size_t n = std::min<size_t>(step, size_t(end - at));
        kernels().ip_block(q, nq, reinterpret_cast<const float*>(base_) + size_t(at) * d_, n, d_,
                           scores.data(), step);
        for (size_t j = 0; j < nq; j++) {
            best[j].push_run(scores.data() + j * step, n, [&](size_t i) { return at + int64_t(i); });
        }
    }
}

namespace {

float known(const SharedScan& shared, size_t j) {
    float floor;
    __atomic_load(&shared.floor[j], &floor, __ATOMIC_RELAXED);
    return floor;
}

void raise(SharedScan& shared, size_t j, float reached) {
    float floor = known(shared, j);
    while (floor < reached &&
           !__atomic_compare_exchange(
                   &shared.floor[j], &floor, &reached, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();

int32_t to_sum(double x) {
    return int32_t(std::clamp<double>(x, kLeast, std::numeric_limits<int32_t>::max()));
}

// The least sum of codes whose vector can reach a score.
int32_t least_sum(const BoundedQuery& q, float score) {
    return q.scale > 0 ? to_sum(std::floor((double(score) - q.slack - q.bias) / q.scale)) : kLeast;
}

// The score that a vector of this sum reaches at least; never more than it, as a float.
float reached_by(const BoundedQuery& q, int32_t sum) {
    return std::nextafter(float(q.bias + q.scale * sum - q.slack),
                          -std::numeric_limits<float>::infinity());
}

bool any_from(const int32_t* sums, size_t n, int32_t least) {
    int found = 0;
    for (size_t i = 0; i < n; i++) {
        found |= sums[i] >= least;
    }
    return found != 0;
}

// The vectors of a part that may be among the k best of one query, by their sums.
class Candidates {
public:
    Candidates(const BoundedQuery& q, size_t k) : q_(q), k_(k) {}

    // Sums of the vectors from at on. floor is a score that k vectors reach.
    void look(const int32_t* sums, size_t n, int64_t at, float floor) {
        constexpr size_t kChunk = 64;
        least_ = std::max(least_, least_sum(q_, floor));
        for (size_t from = 0; from < n; from += kChunk) {
            const size_t m = std::min(kChunk, n - from);
            if (!any_from(sums + from, m, least_)) {
                continue;
            }
            for (size_t i = from; i < from + m; i++) {
                if (sums[i] >= least_) {
                    add(sums[i], at + int64_t(i));
                }
            }
        }
    }

    // A score that k of these vectors reach.
    float reached() const {
        return best_.size() < k_ ? -std::numeric_limits<float>::infinity()
                                 : reached_by(q_, best_.front());
    }

    // Scores what is left by exact, best sums first and some at a time, into top.
    template <class Exact>
    void settle(float floor, TopK& top, Exact&& exact) {
        std::sort(all_.begin(), all_.end(), [](const Candidate& a, const Candidate& b) {
            return a.sum > b.sum || (a.sum == b.sum && a.position < b.position);
        });
        int64_t positions[kTogether];
        float scores[kTogether];
        for (size_t at = 0; at < all_.size();) {
            const int32_t least = least_sum(q_, std::max(floor, top.threshold()));
            size_t n = 0;
            for (; n < kTogether && at < all_.size() && all_[at].sum >= least; at++) {
                positions[n++] = all_[at].position;
            }
            if (n == 0) {
                break;
            }
            exact(positions, n, scores);
            for (size_t i = 0; i < n; i++) {
                top.push(scores[i], positions[i]);
            }
        }
    }

    static constexpr size_t kTogether = 8; // rows of a gather: four are scored while four are fetched

private:
    struct Candidate {
        int32_t sum;
        int64_t position;
    };

    void add(int32_t sum, int64_t position) {
        all_.push_back(Candidate{sum, position});
        if (best_.size() == k_ && sum <= best_.front()) {
            return;
        }
        if (best_.size() == k_) {
            std::pop_heap(best_.begin(), best_.end(), std::greater<>());
            best_.pop_back();
        }
        best_.push_back(sum);
        std::push_heap(best_.begin(), best_.end(), std::greater<>());
        if (best_.size() == k_) {
            least_ = std::max(least_, least_sum(q_, reached()));
        }
    }

    const BoundedQuery& q_;
    size_t k_;
    int32_t least_ = kLeast;      // sums below it are not worth keeping
    std::vector<int32_t> best_;   // the k greatest, the least on top
    std::vector<Candidate> all_;
};

} // namespace

SharedScan Searcher::share(const float* rows, int64_t n) const {
    SharedScan s;
    s.floor.assign(size_t(n), -std::numeric_limits<float>::infinity());
    if (codes_) {
        s.queries.resize(size_t(n));
        for (size_t j = 0; j < s.queries.size(); j++) {
            codes_->prepare(rows + j * d_, s.queries[j]);
            s.weights.insert(s.weights.end(), s.queries[j].w.begin(), s.queries[j].w.end());
        }
    }
    return s;
}

// Every vector is looked at by its code, a quarter of the memory and of the
// arithmetic. Only those that may be among the k best, for all that the code
// leaves open, are scored by their floats: the result is that of the full scan.
void Searcher::scan_codes(const Queries& q, SharedScan& shared, std::vector<TopK>& best,
                          int64_t begin, int64_t end) const {
    const size_t nq = size_t(q.n), step = 4 * block_rows(d_), wd = (d_ + 63) / 64 * 64;
    const auto* floats = reinterpret_cast<const float*>(base_);
    std::vector<Candidates> candidates;
    for (const BoundedQuery& p : shared.queries) {
        candidates.emplace_back(p, size_t(q.k));
    }
    std::vector<int32_t> sums(nq * step);
    for (int64_t at = begin; at < end; at += int64_t(step)) {
        const size_t n = std::min<size_t>(step, size_t(end - at));
        kernels().u8_block(shared.weights.data(), nq, wd, codes_->row(size_t(at)), n, d_,
                           sums.data(), step);
        for (size_t j = 0; j < nq; j++) {
            candidates[j].look(sums.data() + j * step, n, at, known(shared, j));
            raise(shared, j, candidates[j].reached());
        }
    }
    for (size_t j = 0; j < nq; j++) {
        candidates[j].settle(known(shared, j), best[j], [&](const int64_t* positions, size_t m, float* scores) {
            const float* rows[Candidates::kTogether];
            for (size_t i = 0; i < m; i++) {
                rows[i] = floats + size_t(positions[i]) * d_;
            }
            kernels().ip_gather(q.rows + j * d_, rows, m, d_, scores);
        });
        raise(shared, j, best[j].threshold());
    }
}

void Searcher::scan(const Queries& q, SharedScan& shared, int64_t begin, int64_t end) const {
    if (!base_ || !floats_) {
        // Storage order differs from positions, or rows are codes.
        std::vector<uint32_t> all(size_t(end - begin));
        std::iota(all.begin(), all.end(), uint32_t(begin));
        scan_selected(q, all.data(), all.size());
        return;
    }
    auto best = collectors(q);
    if (codes_) {
        scan_codes(q, shared, best, begin, end);
    } else {
        scan_block(q.rows, size_t(q.n), best, begin, end);
    }
    finish(q, best);
}

void Searcher::scan_selected(const Queries& q, const uint32_t* positions, size_t n) const {
    constexpr size_t kStep = 64;
    auto best = collectors(q);
    std::vector<ExactQuery> prepared(size_t(q.n));
    for (int64_t j = 0; j < q.n; j++) {
        prepare(q.rows + size_t(j) * d_, prepared[size_t(j)]);
    }
    const uint8_t* rows[kStep];
    float scores[kStep];
    for (size_t at = 0; at < n; at += kStep) {
        const size_t m = std::min(kStep, n - at);
        for (size_t i = 0; i < m; i++) {
            rows[i] = stored(positions[at + i]);
        }
        for (size_t j = 0; j < prepared.size(); j++) {
            score(prepared[j], rows, m, scores);
            best[j].push_run(scores, m, [&](size_t i) { return int64_t(positions[at + i]); });
        }
    }
    finish(q, best);
}

} // namespace vs
