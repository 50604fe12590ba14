#include "searcher.h"

#include "../error.h"
#include "../kernels/kernels.h"

#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexScalarQuantizer.h>

namespace vs {

std::unique_ptr<Visited> VisitedPool::take(size_t n) {
    {
        std::lock_guard<std::mutex> lock(mu_);
        if (!idle_.empty()) {
            auto v = std::move(idle_.back());
            idle_.pop_back();
            return v;
        }
    }
    return std::make_unique<Visited>(n);
}

void VisitedPool::give(std::unique_ptr<Visited> v) {
    std::lock_guard<std::mutex> lock(mu_);
    idle_.push_back(std::move(v));
}

namespace {

CodeRange range_of(const faiss::ScalarQuantizer& sq, size_t d) {
    require(sq.qtype == faiss::ScalarQuantizer::QT_8bit && sq.trained.size() == 2 * d,
            "quantizer type not supported");
    const float* t = sq.trained.data();
    return CodeRange(std::vector<float>(t, t + d), std::vector<float>(t + d, t + 2 * d));
}

} // namespace

Searcher::Searcher(const faiss::Index& index, int code_threads)
    : d_(size_t(index.d)), n_(index.ntotal) {
    require(index.metric_type == faiss::METRIC_INNER_PRODUCT, "not an inner product index");
    if (auto* ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
        attach_lists(*ivf);
        return;
    }
    hnsw_ = dynamic_cast<const faiss::IndexHNSW*>(&index);
    attach_flat(hnsw_ ? *hnsw_->storage : index);
    if (hnsw_) {
        next_ = chains(hnsw_->hnsw, base_, stride_);
    }
    if (code_threads > 0 && floats_) {
        codes_ = std::make_unique<Codes>(reinterpret_cast<const float*>(base_), size_t(n_), d_, code_threads);
    }
}

void Searcher::attach_flat(const faiss::Index& storage) {
    auto* codes = dynamic_cast<const faiss::IndexFlatCodes*>(&storage);
    auto* sq = dynamic_cast<const faiss::IndexScalarQuantizer*>(&storage);
    require(codes && (sq || dynamic_cast<const faiss::IndexFlat*>(&storage)),
            "storage type not supported");
    require(!sq || hnsw_, "index type not supported");
    require(codes->codes.size() == size_t(n_) * codes->code_size, "wrong storage size");
    floats_ = sq == nullptr;
    if (sq) {
        range_ = range_of(sq->sq, d_);
    }
    stride_ = codes->code_size;
    base_ = codes->codes.data();
}

void Searcher::attach_lists(const faiss::IndexIVF& index) {
    ivf_ = &index;
    auto* sq = dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(&index);
    require(sq || dynamic_cast<const faiss::IndexIVFFlat*>(&index), "index type not supported");
    centroids_ = dynamic_cast<const faiss::IndexFlat*>(index.quantizer);
    require(centroids_ && size_t(centroids_->ntotal) == index.nlist, "coarse quantizer not flat");
    floats_ = sq == nullptr;
    if (sq) {
        require(!sq->by_residual, "residual codes are not supported");
        range_ = range_of(sq->sq, d_);
    }
    stride_ = index.code_size;
    rows_.assign(size_t(n_), nullptr);
    for (size_t l = 0; l < index.nlist; l++) {
        const auto* ids = index.invlists->get_ids(l);
        const uint8_t* codes = index.invlists->get_codes(l);
        for (size_t i = 0; i < index.invlists->list_size(l); i++) {
            require(ids[i] >= 0 && ids[i] < n_ && !rows_[size_t(ids[i])], "ids are not positions");
            rows_[size_t(ids[i])] = codes + i * stride_;
        }
    }
}

void Searcher::vector(int64_t position, float* out) const {
    if (floats_) {
        std::copy_n(reinterpret_cast<const float*>(stored(position)), d_, out);
    } else {
        range_.decode(stored(position), out);
    }
}

void Searcher::prepare(const float* query, ExactQuery& out) const {
    if (floats_) {
        out.q = query;
    } else {
        range_.prepare(query, out);
    }
}

void Searcher::score(
        const ExactQuery& q, const uint8_t* const* rows, size_t n, float* out) const {
    if (floats_) {
        // The same pointers, to floats.
        kernels().ip_gather(q.q, reinterpret_cast<const float* const*>(rows), n, d_, out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = q.bias + kernels().u8_dot(q.w.data(), rows[i], d_);
    }
}

// The vector and those equal to it, as far as they are allowed.
void Searcher::expand(const Hit& hit, const Allow& allow, TopK& best) const {
    for (int64_t p = hit.position; p >= 0; p = next_equal(p)) {
        if (allow.all() || allow.has(p)) {
            best.push(hit.score, p);
        }
    }
}

void Searcher::rescore(const ExactQuery& q, TopK& candidates, const Allow& allow, TopK& best) const {
    std::vector<const uint8_t*> rows;
    for (const Hit& h : candidates.hits()) {
        rows.push_back(stored(h.position));
        prefetch_row(rows.back(), stride_);
    }
    std::vector<float> scores(rows.size());
    score(q, rows.data(), rows.size(), scores.data());
    for (size_t i = 0; i < scores.size(); i++) {
        if (scores[i] >= best.threshold()) {
            expand(Hit{scores[i], candidates.hits()[i].position}, allow, best);
        }
    }
    candidates.clear();
}

} // namespace vs
