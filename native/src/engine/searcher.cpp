#include "searcher.h"

#include "../error.h"

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

Searcher::Searcher(const faiss::Index& index, bool with_codes)
    : d_(size_t(index.d)), n_(index.ntotal) {
    require(index.metric_type == faiss::METRIC_INNER_PRODUCT, "not an inner product index");
    const faiss::Index* storage = &index;
    if (auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(&index)) {
        hnsw_ = hnsw;
        storage = hnsw->storage;
    }
    if (auto* flat = dynamic_cast<const faiss::IndexFlat*>(storage)) {
        require(flat->codes.size() == size_t(n_) * d_ * sizeof(float), "wrong storage size");
        base_ = flat->get_xb();
        if (hnsw_ && with_codes) {
            codes_ = std::make_unique<Codes>(base_, size_t(n_), d_);
        }
        return;
    }
    ivf_ = dynamic_cast<const faiss::IndexIVFFlat*>(&index);
    require(ivf_ != nullptr, "index type not supported");
    centroids_ = dynamic_cast<const faiss::IndexFlat*>(ivf_->quantizer);
    require(centroids_ && size_t(centroids_->ntotal) == ivf_->nlist, "coarse quantizer not flat");
    index_lists();
}

void Searcher::index_lists() {
    rows_.assign(size_t(n_), nullptr);
    for (size_t l = 0; l < ivf_->nlist; l++) {
        const auto* ids = ivf_->invlists->get_ids(l);
        const auto* codes = reinterpret_cast<const float*>(ivf_->invlists->get_codes(l));
        for (size_t i = 0; i < ivf_->invlists->list_size(l); i++) {
            require(ids[i] >= 0 && ids[i] < n_ && !rows_[size_t(ids[i])], "ids are not positions");
            rows_[size_t(ids[i])] = codes + i * d_;
        }
    }
}

} // namespace vs
