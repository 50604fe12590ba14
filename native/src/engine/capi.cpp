// The C face of Searcher.
#include "searcher.h"

#include "../error.h"
#include "../threads.h"

#include <vectorstore/native.h>

#include <optional>

struct vs_searcher {
    vs_searcher(const faiss::Index& index, int code_threads) : impl(index, code_threads) {}

    vs::Searcher impl;
};

struct vs_scan_state {
    const vs_searcher* of;
    vs::SharedScan impl;
};

namespace {

// What Go has already checked, once more: a mistake here would be a crash.
vs::Queries queries(const vs_searcher* s, int64_t nq, const float* rows, int64_t k,
                    float* scores, int64_t* positions) {
    vs::require(s && rows && scores && positions, "null argument");
    vs::require(nq >= 1 && k >= 1, "k and the number of queries must be positive");
    return vs::Queries{rows, nq, k, scores, positions};
}

} // namespace

extern "C" {

int vs_searcher_new(void* index, int code_threads, vs_searcher** out) {
    return vs::guarded([&] {
        vs::require(index != nullptr, "null index");
        std::optional<vs::BuildScope> scope;
        if (code_threads < 0) {
            scope.emplace();
            code_threads = vs::build_threads();
        }
        *out = new vs_searcher(*static_cast<const faiss::Index*>(index), code_threads);
    });
}

void vs_searcher_free(vs_searcher* s) {
    delete s;
}

size_t vs_searcher_bytes(const vs_searcher* s) {
    return sizeof(*s) + s->impl.bytes();
}

int vs_scan_begin(const vs_searcher* s, int64_t nq, const float* rows, vs_scan_state** out) {
    return vs::guarded([&] {
        vs::require(s && rows && out && nq >= 1, "nothing to scan for");
        *out = new vs_scan_state{s, s->impl.share(rows, nq)};
    });
}

int vs_scan(vs_scan_state* state, int64_t nq, const float* rows, int64_t k, int64_t begin,
            int64_t end, float* scores, int64_t* positions) {
    return vs::guarded([&] {
        vs::require(state && size_t(nq) == state->impl.floor.size(), "queries of another scan");
        const auto q = queries(state->of, nq, rows, k, scores, positions);
        const vs::Searcher& s = state->of->impl;
        vs::require(begin >= 0 && begin <= end && end <= s.size(), "range out of bounds");
        s.scan(q, state->impl, begin, end);
    });
}

void vs_scan_end(vs_scan_state* state) {
    delete state;
}

vs_scan_work vs_scan_done(const vs_scan_state* state) {
    const vs::ScanWork& w = state->impl.work;
    return vs_scan_work{w.coded, w.chosen, w.single, w.plain};
}

int vs_scan_selected(
        const vs_searcher* s, int64_t nq, const float* rows, int64_t k, const uint32_t* selected,
        size_t n_selected, float* scores, int64_t* positions) {
    return vs::guarded([&] {
        const auto q = queries(s, nq, rows, k, scores, positions);
        for (size_t i = 0; i < n_selected; i++) {
            vs::require(int64_t(selected[i]) < s->impl.size(), "position out of range");
        }
        s->impl.scan_selected(q, selected, n_selected);
    });
}

int vs_search(
        const vs_searcher* s, int64_t nq, const float* rows, int64_t k, int64_t ef,
        const uint64_t* allow, size_t allow_words, int64_t allowed, int64_t budget,
        float* scores, int64_t* positions) {
    int incomplete = 0;
    const int rc = vs::guarded([&] {
        const auto q = queries(s, nq, rows, k, scores, positions);
        vs::require(ef >= 1, "ef must be positive");
        const vs::Allow filter{allow, allow_words, allowed};
        if (s->impl.graph()) {
            incomplete = !s->impl.search_graph(q, ef, filter, budget);
        } else if (s->impl.lists()) {
            s->impl.search_lists(q, ef, filter);
        } else {
            vs::fail("a flat index is scanned");
        }
    });
    return rc != 0 ? rc : incomplete;
}

int vs_vector(const vs_searcher* s, int64_t position, float* out) {
    return vs::guarded([&] {
        vs::require(position >= 0 && position < s->impl.size(), "position out of range");
        s->impl.vector(position, out);
    });
}

} // extern "C"
