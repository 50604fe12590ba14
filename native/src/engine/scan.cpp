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

void add(ScanWork& all, const ScanWork& part) {
    __atomic_fetch_add(&all.coded, part.coded, __ATOMIC_RELAXED);
    __atomic_fetch_add(&all.chosen, part.chosen, __ATOMIC_RELAXED);
    __atomic_fetch_add(&all.single, part.single, __ATOMIC_RELAXED);
    __atomic_fetch_add(&all.plain, part.plain, __ATOMIC_RELAXED);
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
    Candidates(const BoundedQuery& q, size_t k, int64_t begin)
        : q_(q), k_(k), begin_(begin), prune_at_(2 * k + kSpare) {}

    // What scoring them will cost and choosing them has cost, in single scores.
    size_t cost() const {
        return all_.size() + chosen_ / kChosenPerScore;
    }

    // How many there have been, with those dropped since.
    size_t chosen() const {
        return chosen_;
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
            const size_t before = all_.size();
            for (size_t i = from; i < from + m; i++) {
                if (sums[i] >= least_) {
                    all_.push_back(key(sums[i], at + int64_t(i)));
                }
            }
            chosen_ += all_.size() - before;
            if (all_.size() >= prune_at_) {
                prune();
            }
        }
    }

    // Drops what the k best so far leave behind. Work is in proportion to what was added since.
    void prune() {
        if (all_.size() >= k_) {
            std::nth_element(all_.begin(), all_.begin() + ptrdiff_t(k_ - 1), all_.end());
            reached_ = std::max(reached_, reached_by(q_, sum(all_[k_ - 1])));
            least_ = std::max(least_, least_sum(q_, reached_));
        }
        drop([&](Key c) { return sum(c) < least_; });
        prune_at_ = std::max(2 * all_.size(), all_.size() + k_ + kSpare);
    }

    // Forgets the vectors from at on.
    void forget(int64_t at) {
        drop([&](Key c) { return position(c) >= at; });
    }

    // A score that k of the vectors looked at reach.
    float reached() const {
        return reached_;
    }

    // Scores what is left by exact, best sums first and some at a time, into top. Returns how many.
    template <class Exact>
    size_t settle(float floor, TopK& top, Exact&& exact) {
        const int32_t enough = least_sum(q_, std::max(floor, top.threshold()));
        drop([&](Key c) { return sum(c) < enough; });
        std::sort(all_.begin(), all_.end());
        int64_t positions[kTogether];
        float scores[kTogether];
        size_t at = 0;
        while (at < all_.size()) {
            const int32_t least = least_sum(q_, std::max(floor, top.threshold()));
            size_t n = 0;
            for (; n < kTogether && at < all_.size() && sum(all_[at]) >= least; at++) {
                positions[n++] = position(all_[at]);
            }
            if (n == 0) {
                break;
            }
            exact(positions, n, scores);
            for (size_t i = 0; i < n; i++) {
                top.push(scores[i], positions[i]);
            }
        }
        return at;
    }

    static constexpr size_t kTogether = 8; // rows of a gather: four are scored while four are fetched

private:
    // Greatest sum first, then by position: a number, because sorting those is several times faster.
    using Key = uint64_t;

    Key key(int32_t sum, int64_t position) const {
        return uint64_t(uint32_t(std::numeric_limits<int32_t>::max()) - uint32_t(sum)) << 32 |
                uint32_t(position - begin_);
    }
    static int32_t sum(Key c) {
        return int32_t(uint32_t(std::numeric_limits<int32_t>::max()) - uint32_t(c >> 32));
    }
    int64_t position(Key c) const {
        return begin_ + int64_t(uint32_t(c));
    }

    template <class Dead>
    void drop(Dead&& dead) {
        all_.erase(std::remove_if(all_.begin(), all_.end(), dead), all_.end());
    }

    static constexpr size_t kSpare = 256;
    static constexpr size_t kChosenPerScore = 4;

    const BoundedQuery& q_;
    size_t k_;
    int64_t begin_;
    size_t prune_at_;
    size_t chosen_ = 0;
    int32_t least_ = kLeast; // sums below it are not worth keeping
    float reached_ = -std::numeric_limits<float>::infinity();
    std::vector<Key> all_;
};

// A block whose codes are of no use costs up to thrice its full scan. So blocks begin
// short, and such a block is followed by a full scan of at least so many like it:
// of twice as many each time that the next one is of no use either.
constexpr size_t kFirstBlock = 32, kPlainBlocks = 8;

// The share of rows that may stay candidates of a query. Scoring one costs some times its part of a full scan: the
// more the shorter the row, and the more queries share the scan. With what their codes cost, that many come to a full
// scan.
double worthwhile(size_t nq, size_t d) {
    return 0.4 / double(std::min<size_t>(nq, 3)) * double(d) / double(d + 256);
}

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
// Where codes leave too many open, as those of equal vectors do, floats are
// scanned and codes are tried again later: whatever the vectors, it costs at
// most a tenth more than the full scan.
void Searcher::scan_codes(const Queries& q, SharedScan& shared, std::vector<TopK>& best,
                          int64_t begin, int64_t end) const {
    const size_t nq = size_t(q.n), k = size_t(q.k), wd = (d_ + 63) / 64 * 64;
    const size_t most = std::clamp<size_t>(size_t(end - begin) / 16, kFirstBlock, 4 * block_rows(d_));
    const auto* floats = reinterpret_cast<const float*>(base_);
    std::vector<Candidates> candidates;
    for (const BoundedQuery& p : shared.queries) {
        candidates.emplace_back(p, k, begin);
    }
    ScanWork work;
    int64_t at = begin, coded = 0;
    const auto plain = [&](size_t n) {
        const int64_t to = std::min(end, at + int64_t(n));
        scan_block(q.rows, nq, best, at, to);
        for (size_t j = 0; j < nq; j++) {
            raise(shared, j, best[j].threshold());
        }
        work.plain += q.n * (to - at);
        at = to;
    };
    const auto crowded = [&](int64_t seen) {
        const double room = double(nq) * (kFirstBlock / 8 + double(seen) * worthwhile(nq, d_));
        const auto over = [&] {
            return room < std::accumulate(candidates.begin(), candidates.end(), 0.0,
                                          [](double n, const Candidates& c) { return n + double(c.cost()); });
        };
        if (!over()) {
            return false;
        }
        for (size_t j = 0; j < nq; j++) {
            candidates[j].prune();
            raise(shared, j, candidates[j].reached());
        }
        return over();
    };

    // Codes leave out little before a good score is known.
    for (size_t j = 0; j < nq; j++) {
        if (std::isinf(known(shared, j))) {
            plain(std::max<size_t>(8 * kFirstBlock, 2 * k));
            break;
        }
    }
    std::vector<int32_t> sums(nq * most);
    for (size_t step = kFirstBlock, wait = kPlainBlocks; at < end;) {
        const size_t n = std::min<size_t>(step, size_t(end - at));
        kernels().u8_block(shared.weights.data(), nq, wd, codes_->row(size_t(at)), n, d_,
                           sums.data(), most);
        for (size_t j = 0; j < nq; j++) {
            candidates[j].look(sums.data() + j * most, n, at, known(shared, j));
        }
        work.coded += q.n * int64_t(n);
        if (crowded(coded + int64_t(n))) {
            for (Candidates& c : candidates) {
                c.forget(at);
            }
            plain((1 + wait) * n);
            step = kFirstBlock;
            wait *= 2;
            continue;
        }
        coded += int64_t(n);
        at += int64_t(n);
        step = std::min(2 * step, most);
        wait = kPlainBlocks;
    }
    for (size_t j = 0; j < nq; j++) {
        candidates[j].prune();
        raise(shared, j, candidates[j].reached());
        work.single += int64_t(candidates[j].settle(
                known(shared, j), best[j], [&](const int64_t* positions, size_t m, float* scores) {
                    const float* rows[Candidates::kTogether];
                    for (size_t i = 0; i < m; i++) {
                        rows[i] = floats + size_t(positions[i]) * d_;
                    }
                    kernels().ip_gather(q.rows + j * d_, rows, m, d_, scores);
                }));
        raise(shared, j, best[j].threshold());
        work.chosen += int64_t(candidates[j].chosen());
    }
    add(shared.work, work);
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
