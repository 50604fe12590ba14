// The C face of GraphBuilder.
#include "graph_builder.h"

#include "../error.h"
#include "../threads.h"

#include <vectorstore/native.h>

struct vs_graph {
    vs_graph(faiss::IndexHNSW& index, int threads) : impl(index, threads) {}

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
    return vs::guarded([&] { *out = new vs_graph(hnsw(index), vs::build_threads()); });
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

} // extern "C"
