// Exhaustive scans.
#include "searcher.h"

#include "../kernels/kernels.h"

#include <cmath>
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

// The parts of a scan share what each has found to be reached.
float known(const Queries& q, size_t j) {
    float floor = -std::numeric_limits<float>::infinity();
    if (q.floor) {
        __atomic_load(q.floor + j, &floor, __ATOMIC_RELAXED);
    }
    return floor;
}

void raise(const Queries& q, size_t j, float reached) {
    float floor = known(q, j);
    while (q.floor && floor < reached &&
           !__atomic_compare_exchange(
                   q.floor + j, &floor, &reached, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

// The least sum of codes whose vector can reach a score.
int32_t least_sum(const BoundedQuery& q, float score) {
    if (!(q.scale > 0)) {
        return std::numeric_limits<int32_t>::min();
    }
    const double sum = std::floor((double(score) - q.slack - q.bias) / q.scale);
    return int32_t(std::clamp<double>(
            sum, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
}

bool any_from(const int32_t* sums, size_t n, int32_t least) {
    int found = 0;
    for (size_t i = 0; i < n; i++) {
        found |= sums[i] >= least;
    }
    return found != 0;
}

} // namespace

// Every vector is looked at by its code, a quarter of the memory and of the
// arithmetic. Only those that may be among the k best, for all that the code
// leaves open, are scored by their floats: the result is that of the full scan.
void Searcher::scan_codes(
        const Queries& q, std::vector<TopK>& best, int64_t begin, int64_t end) const {
    const size_t nq = size_t(q.n), step = 4 * block_rows(d_), wd = (d_ + 63) / 64 * 64;
    const auto* floats = reinterpret_cast<const float*>(base_);
    std::vector<BoundedQuery> prepared(nq);
    std::vector<int8_t> w(nq * wd);
    for (size_t j = 0; j < nq; j++) {
        codes_->prepare(q.rows + j * d_, prepared[j]);
        std::copy(prepared[j].w.begin(), prepared[j].w.end(), w.begin() + ptrdiff_t(j * wd));
    }
    std::vector<int32_t> sums(nq * step);
    for (int64_t at = begin; at < end; at += int64_t(step)) {
        const size_t n = std::min<size_t>(step, size_t(end - at));
        kernels().u8_block(w.data(), nq, wd, codes_->row(size_t(at)), n, d_, sums.data(), step);
        for (size_t j = 0; j < nq; j++) {
            TopK& top = best[j];
            const float floor = known(q, j);
            int32_t least = least_sum(prepared[j], std::max(floor, top.threshold()));
            constexpr size_t kChunk = 64;
            for (size_t from = 0; from < n; from += kChunk) {
                const int32_t* s = sums.data() + j * step + from;
                const size_t m = std::min(kChunk, n - from);
                if (!any_from(s, m, least)) {
                    continue;
                }
                for (size_t i = 0; i < m; i++) {
                    if (s[i] < least) {
                        continue;
                    }
                    const int64_t p = at + int64_t(from + i);
                    top.push(kernels().inner_product(q.rows + j * d_, floats + size_t(p) * d_, d_), p);
                    least = least_sum(prepared[j], std::max(floor, top.threshold()));
                }
            }
            raise(q, j, top.threshold());
        }
    }
}

void Searcher::scan(const Queries& q, int64_t begin, int64_t end) const {
    if (!base_ || !floats_) {
        // Storage order differs from positions, or rows are codes.
        std::vector<uint32_t> all(size_t(end - begin));
        std::iota(all.begin(), all.end(), uint32_t(begin));
        scan_selected(q, all.data(), all.size());
        return;
    }
    auto best = collectors(q);
    if (codes_) {
        scan_codes(q, best, begin, end);
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
