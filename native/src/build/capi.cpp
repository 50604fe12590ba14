// The C face of GraphBuilder, and what SQ8 storage needs besides.
#include "graph_builder.h"

#include "../error.h"
#include "../threads.h"

#include <faiss/IndexScalarQuantizer.h>

#include <vectorstore/native.h>

#include <algorithm>

struct vs_graph {
    template <class... Args>
    explicit vs_graph(Args&&... args) : impl(std::forward<Args>(args)...) {}

    vs::GraphBuilder impl;
};

namespace {

faiss::IndexHNSW& hnsw(void* index) {
    auto* p = dynamic_cast<faiss::IndexHNSW*>(static_cast<faiss::Index*>(index));
    vs::require(p != nullptr, "not an HNSW index");
    return *p;
}

} // namespace

extern "C" {

int vs_append(void* index, int64_t n, const float* rows) {
    return vs::guarded([&] {
        vs::require(n > 0 && rows, "no rows");
        hnsw(index).storage->add(n, rows);
    });
}

int vs_graph_new(void* index, vs_graph** out) {
    return vs::guarded([&] {
        vs::BuildScope scope;
        *out = new vs_graph(hnsw(index), vs::build_threads());
    });
}

int vs_graph_carry(void* index, void* old, const int64_t* from, vs_graph** out) {
    return vs::guarded([&] {
        vs::BuildScope scope;
        *out = new vs_graph(hnsw(index), vs::build_threads(), hnsw(old).hnsw, from);
    });
}

int64_t vs_graph_size(const vs_graph* g) {
    return g->impl.size();
}

int vs_graph_insert(vs_graph* g, int64_t from, int64_t to) {
    return vs::guarded([&] {
        vs::BuildScope scope;
        g->impl.insert(from, to);
    });
}

void vs_graph_free(vs_graph* g) {
    delete g;
}

int vs_plain_codes(void* index) {
    return vs::guarded([&] {
        auto* ivf = dynamic_cast<faiss::IndexIVFScalarQuantizer*>(static_cast<faiss::Index*>(index));
        vs::require(ivf && !ivf->is_trained, "not an untrained IVF SQ index");
        ivf->by_residual = false;
    });
}

int vs_code_range(void* index, const float* low, const float* width) {
    return vs::guarded([&] {
        auto* ivf = dynamic_cast<faiss::IndexIVFScalarQuantizer*>(static_cast<faiss::Index*>(index));
        const size_t d = ivf ? size_t(ivf->d) : 0;
        vs::require(ivf && ivf->is_trained && ivf->ntotal == 0 && ivf->sq.trained.size() == 2 * d,
                    "not a trained, empty IVF SQ8 index");
        std::copy_n(low, d, ivf->sq.trained.begin());
        std::copy_n(width, d, ivf->sq.trained.begin() + ptrdiff_t(d));
    });
}

int vs_quantize_graph(void* floats, void* codes) {
    return vs::guarded([&] {
        vs::BuildScope scope;
        faiss::IndexHNSW& from = hnsw(floats);
        faiss::IndexHNSW& to = hnsw(codes);
        auto* rows = dynamic_cast<faiss::IndexFlat*>(from.storage);
        auto* sq = dynamic_cast<faiss::IndexScalarQuantizer*>(to.storage);
        vs::require(rows && sq && to.ntotal == 0 && from.d == to.d &&
                            from.metric_type == to.metric_type &&
                            sq->sq.qtype == faiss::ScalarQuantizer::QT_8bit,
                    "indexes do not match");
        const size_t d = size_t(from.d), n = size_t(from.ntotal);
        const auto range = vs::CodeRange::of(rows->get_xb(), n, d, vs::build_threads());
        sq->sq.trained = range.low();
        sq->sq.trained.insert(sq->sq.trained.end(), range.width().begin(), range.width().end());
        sq->codes.resize(n * d);
        for (size_t i = 0; i < n; i++) {
            range.encode(rows->get_xb() + i * d, sq->codes.data() + i * d);
        }
        sq->ntotal = to.ntotal = from.ntotal;
        sq->is_trained = to.is_trained = true;
        to.hnsw = std::move(from.hnsw);
        from.reset();
    });
}

} // extern "C"
