// Inverted lists: the coarse quantizer ranks the lists, the best are scanned.
#include "searcher.h"

#include "../kernels/kernels.h"

#include <numeric>

namespace vs {
namespace {

constexpr size_t kStep = 256; // scores computed before they are ranked

// The scan of some lists for one query. Codes are scored with 8-bit weights
// first, so best then holds candidates to score again.
class ListScan {
public:
    ListScan(const Searcher& s, const float* q, const Allow& allow, TopK& best)
        : s_(s), q_(q), allow_(allow), best_(best) {
        if (!s.stores_floats()) {
            s.range().prepare(q, codes_);
        }
    }

    void scan(const uint8_t* codes, size_t stride, const int64_t* ids, size_t n) {
        if (allow_.all() && s_.stores_floats()) {
            whole(reinterpret_cast<const float*>(codes), ids, n);
            return;
        }
        for (size_t i = 0; i < n; i++) {
            if (allow_.all() || allow_.has(ids[i])) {
                rows_[pending_] = codes + i * stride;
                ids_[pending_++] = ids[i];
                if (pending_ == kStep) {
                    flush();
                }
            }
        }
        flush();
    }

    int64_t seen() const { // allowed vectors
        return seen_;
    }

private:
    void whole(const float* rows, const int64_t* ids, size_t n) {
        for (size_t at = 0; at < n; at += kStep) {
            const size_t m = std::min(kStep, n - at);
            kernels().ip_rows(q_, rows + at * s_.dims(), m, s_.dims(), scores_);
            best_.push_run(scores_, m, [&](size_t i) { return ids[at + i]; });
        }
        seen_ += int64_t(n);
    }

    void flush() {
        const size_t m = pending_;
        if (s_.stores_floats()) {
            kernels().ip_gather(
                    q_, reinterpret_cast<const float* const*>(rows_), m, s_.dims(), scores_);
        } else {
            kernels().u8_gather(codes_.w.data(), rows_, m, s_.dims(), sums_);
            for (size_t i = 0; i < m; i++) {
                scores_[i] = codes_.bias + codes_.scale * float(sums_[i]);
            }
        }
        best_.push_run(scores_, m, [&](size_t i) { return ids_[i]; });
        seen_ += int64_t(m);
        pending_ = 0;
    }

    const Searcher& s_;
    const float* q_;
    const Allow& allow_;
    TopK& best_;
    CodeQuery codes_;
    int64_t seen_ = 0;
    size_t pending_ = 0;
    const uint8_t* rows_[kStep];
    int64_t ids_[kStep];
    int32_t sums_[kStep];
    float scores_[kStep];
};

} // namespace

void Searcher::search_lists(const Queries& q, int64_t nprobe, const Allow& allow) const {
    const size_t nlist = ivf_->nlist;
    const size_t probes = std::min(size_t(nprobe), nlist);
    // Twice what nprobe average lists hold (the allowed vectors may lie farther
    // out, where more lists are equally near), or everything allowed.
    const int64_t enough = allow.all()
            ? 0
            : std::min(allow.count, int64_t(2 * double(n_) * double(probes) / double(nlist)) + q.k);
    std::vector<float> coarse(nlist);
    std::vector<size_t> order(nlist);
    ExactQuery exact;
    for (int64_t i = 0; i < q.n; i++) {
        const float* query = q.rows + size_t(i) * d_;
        kernels().ip_rows(query, centroids_->get_xb(), nlist, d_, coarse.data());
        std::iota(order.begin(), order.end(), size_t(0));
        const auto closer = [&](size_t a, size_t b) {
            return coarse[a] > coarse[b] || (coarse[a] == coarse[b] && a < b);
        };
        size_t sorted = probes;
        std::partial_sort(order.begin(), order.begin() + sorted, order.end(), closer);
        TopK best(size_t(q.k));
        // Rounded weights swap neighbours a few ranks apart.
        TopK candidates(size_t(floats_ ? 1 : 2 * q.k + 32));
        ListScan scan(*this, query, allow, floats_ ? best : candidates);
        for (size_t p = 0; p < nlist && (p < probes || scan.seen() < enough); p++) {
            if (p == sorted) {
                sorted = std::min(nlist, sorted * 2);
                std::partial_sort(
                        order.begin() + p, order.begin() + sorted, order.end(), closer);
            }
            const size_t l = order[p];
            scan.scan(ivf_->invlists->get_codes(l), stride_, ivf_->invlists->get_ids(l),
                      ivf_->invlists->list_size(l));
        }
        if (!floats_) {
            prepare(query, exact);
            rescore(exact, candidates, Allow(), best);
        }
        best.take(q.scores + i * q.k, q.positions + i * q.k);
    }
}

} // namespace vs
