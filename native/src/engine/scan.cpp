// Exhaustive scans.
#include "searcher.h"

#include "../kernels/kernels.h"

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

void Searcher::scan(const Queries& q, int64_t begin, int64_t end) const {
    if (!base_ || !floats_) {
        // Storage order differs from positions, or rows are codes.
        std::vector<uint32_t> all(size_t(end - begin));
        std::iota(all.begin(), all.end(), uint32_t(begin));
        scan_selected(q, all.data(), all.size());
        return;
    }
    auto best = collectors(q);
    scan_block(q.rows, size_t(q.n), best, begin, end);
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
