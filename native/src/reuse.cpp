// What a build takes from an earlier index, besides the links of a graph (build/carry.cpp).
#include "error.h"
#include "threads.h"

#include <faiss/IndexFlatCodes.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/clone_index.h>

#include <vectorstore/native.h>

#include <memory>
#include <vector>

namespace {

faiss::IndexIVF& lists(void* index) {
    auto* p = dynamic_cast<faiss::IndexIVF*>(static_cast<faiss::Index*>(index));
    vs::require(p != nullptr, "not an IVF index");
    return *p;
}

} // namespace

extern "C" {

int vs_drop_vectors(void* index) {
    return vs::guarded([&] {
        auto* hnsw = dynamic_cast<faiss::IndexHNSW*>(static_cast<faiss::Index*>(index));
        auto* storage = hnsw ? dynamic_cast<faiss::IndexFlatCodes*>(hnsw->storage) : nullptr;
        vs::require(storage != nullptr, "not an HNSW index over plain storage");
        storage->reset();
        storage->codes.shrink_to_fit();
    });
}

int vs_take_lists(void* index, void* old) {
    return vs::guarded([&] {
        faiss::IndexIVF& dst = lists(index);
        const faiss::IndexIVF& from = lists(old);
        vs::require(from.is_trained && dst.ntotal == 0, "source untrained or target not empty");
        vs::require(dst.d == from.d && dst.nlist == from.nlist && dst.code_size == from.code_size &&
                            dst.metric_type == from.metric_type,
                    "indexes do not match");
        auto* dst_sq = dynamic_cast<faiss::IndexIVFScalarQuantizer*>(&dst);
        auto* from_sq = dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(&from);
        vs::require((dst_sq == nullptr) == (from_sq == nullptr), "indexes do not match");
        std::unique_ptr<faiss::Index> copy(faiss::clone_index(from.quantizer));
        if (dst_sq) {
            dst_sq->sq = from_sq->sq;
            dst_sq->by_residual = from_sq->by_residual;
        }
        if (dst.own_fields) {
            delete dst.quantizer;
        }
        dst.quantizer = copy.release();
        dst.own_fields = true;
        dst.is_trained = true;
    });
}

int vs_lists_fit(void* index, int64_t n, const float* rows, double* mean) {
    return vs::guarded([&] {
        vs::BuildScope scope;
        const faiss::IndexIVF& ivf = lists(index);
        vs::require(n > 0 && ivf.is_trained, "no rows, or an untrained index");
        std::vector<float> nearest(static_cast<size_t>(n));
        std::vector<faiss::Index::idx_t> list(static_cast<size_t>(n));
        ivf.quantizer->search(n, rows, 1, nearest.data(), list.data());
        double sum = 0;
        for (float s : nearest) {
            sum += s;
        }
        *mean = sum / double(n);
    });
}

} // extern "C"
