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

    size_t size() const {
        return all_.size();
    }
    // Forgets the last ones, down to n.
    void forget(size_t n) {
        all_.resize(n);
    }

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

    // Scores what is left by exact, best sums first, into top.
    template <class Exact>
    void settle(float floor, TopK& top, Exact&& exact) {
        std::sort(all_.begin(), all_.end(), [](const Candidate& a, const Candidate& b) {
            return a.sum > b.sum || (a.sum == b.sum && a.position < b.position);
        });
        for (const Candidate& c : all_) {
            if (c.sum < least_sum(q_, std::max(floor, top.threshold()))) {
                break;
            }
            top.push(exact(c.position), c.position);
        }
    }

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

namespace {

// A block whose candidates are more than the k best and a share of the rest cost
// more by codes than without: their floats lie anywhere, and are ranked twice.
constexpr size_t kShare = 64;
constexpr int64_t kLongestWait = 64; // blocks: trying again costs less than 1 % then

bool told_too_little(size_t candidates, size_t nq, size_t k, size_t n) {
    return candidates > nq * (k + n / kShare);
}

// Whether the next block is looked at by its codes.
bool by_codes(SharedScan& shared) {
    const int64_t block = __atomic_fetch_add(&shared.blocks, 1, __ATOMIC_RELAXED);
    return block >= __atomic_load_n(&shared.plain, __ATOMIC_RELAXED);
}

// What a block taught: whether codes help with what comes next. Two threads may
// both say so of the same stretch; it is a matter of speed only.
void learn(SharedScan& shared, std::atomic<int64_t>& wait, bool useless) {
    if (!useless) {
        wait.store(1, std::memory_order_relaxed);
        return;
    }
    const int64_t blocks = wait.load(std::memory_order_relaxed);
    const int64_t now = __atomic_load_n(&shared.blocks, __ATOMIC_RELAXED);
    __atomic_store_n(&shared.plain, now + blocks, __ATOMIC_RELAXED);
    wait.store(std::min(2 * blocks, kLongestWait), std::memory_order_relaxed);
}

} // namespace

// Every vector is looked at by its code, a quarter of the memory and of the
// arithmetic. Only those that may be among the k best, for all that the code
// leaves open, are scored by their floats: the result is that of the full scan.
// Where codes cannot tell the vectors apart it is the full scan.
void Searcher::scan_codes(const Queries& q, SharedScan& shared, std::vector<TopK>& best,
                          int64_t begin, int64_t end) const {
    const size_t nq = size_t(q.n), step = 4 * block_rows(d_), wd = (d_ + 63) / 64 * 64;
    const auto* floats = reinterpret_cast<const float*>(base_);
    std::vector<Candidates> candidates;
    for (const BoundedQuery& p : shared.queries) {
        candidates.emplace_back(p, size_t(q.k));
    }
    std::vector<int32_t> sums(nq * step);
    std::vector<size_t> before(nq);
    for (int64_t at = begin; at < end; at += int64_t(step)) {
        const size_t n = std::min<size_t>(step, size_t(end - at));
        const bool coded = by_codes(shared);
        bool plain = !coded;
        if (coded) {
            kernels().u8_block(shared.weights.data(), nq, wd, codes_->row(size_t(at)), n, d_,
                               sums.data(), step);
            size_t found = 0;
            for (size_t j = 0; j < nq; j++) {
                before[j] = candidates[j].size();
                candidates[j].look(sums.data() + j * step, n, at, known(shared, j));
                raise(shared, j, candidates[j].reached());
                found += candidates[j].size() - before[j];
            }
            plain = told_too_little(found, nq, size_t(q.k), n);
            learn(shared, wait_, plain);
            for (size_t j = 0; plain && j < nq; j++) {
                candidates[j].forget(before[j]);
            }
        }
        if (plain) {
            if (coded) {
                __atomic_fetch_add(&shared.vain, int64_t(n), __ATOMIC_RELAXED);
            }
            scan_block(q.rows, nq, best, at, at + int64_t(n));
            for (size_t j = 0; j < nq; j++) {
                raise(shared, j, best[j].threshold());
            }
        }
    }
    for (size_t j = 0; j < nq; j++) {
        candidates[j].settle(known(shared, j), best[j], [&](int64_t p) {
            const float* row = floats + size_t(p) * d_;
            float score;
            kernels().ip_gather(q.rows + j * d_, &row, 1, d_, &score);
            return score;
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
