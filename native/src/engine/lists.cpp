// Inverted lists: the coarse quantizer ranks the lists, the best are scanned.
#include "searcher.h"

#include "../kernels/kernels.h"

#include <numeric>

namespace vs {
namespace {

constexpr size_t kStep = 256; // scores computed before they are ranked

struct ListScan {
    const Searcher& s;
    const float* q;
    const Allow& allow;
    TopK& best;
    int64_t seen = 0; // allowed vectors
    float scores[kStep];
    const float* rows[kStep];
    int64_t ids[kStep];

    void all(const float* codes, const int64_t* list_ids, size_t n) {
        for (size_t at = 0; at < n; at += kStep) {
            const size_t m = std::min(kStep, n - at);
            kernels().ip_rows(q, codes + at * s.dims(), m, s.dims(), scores);
            best.push_run(scores, m, [&](size_t i) { return list_ids[at + i]; });
        }
        seen += int64_t(n);
    }

    void allowed(const float* codes, const int64_t* list_ids, size_t n) {
        size_t m = 0;
        for (size_t i = 0; i < n; i++) {
            if (allow.has(list_ids[i])) {
                rows[m] = codes + i * s.dims();
                ids[m++] = list_ids[i];
            }
            if (m == kStep || (m > 0 && i + 1 == n)) {
                kernels().ip_gather(q, rows, m, s.dims(), scores);
                best.push_run(scores, m, [&](size_t j) { return ids[j]; });
                seen += int64_t(m);
                m = 0;
            }
        }
    }
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
        ListScan scan{*this, query, allow, best, 0, {}, {}, {}};
        for (size_t p = 0; p < nlist && (p < probes || scan.seen < enough); p++) {
            if (p == sorted) {
                sorted = std::min(nlist, sorted * 2);
                std::partial_sort(
                        order.begin() + p, order.begin() + sorted, order.end(), closer);
            }
            const size_t l = order[p];
            const auto* codes = reinterpret_cast<const float*>(ivf_->invlists->get_codes(l));
            const auto* ids = ivf_->invlists->get_ids(l);
            const size_t n = ivf_->invlists->list_size(l);
            if (allow.all()) {
                scan.all(codes, ids, n);
            } else {
                scan.allowed(codes, ids, n);
            }
        }
        best.take(q.scores + i * q.k, q.positions + i * q.k);
    }
}

} // namespace vs
