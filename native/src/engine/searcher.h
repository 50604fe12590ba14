// A read-only view of a finished index, and the searches over it.
//
// A Searcher borrows the FAISS object, which must not change or go away while
// the Searcher lives. All methods are const and may run on any number of
// threads; each uses only the calling thread.
#pragma once

#include "codes.h"
#include "copies.h"
#include "topk.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace vs {

// Fetches the start of a row ahead; the processor fetches what follows by itself.
inline void prefetch_row(const uint8_t* row, size_t bytes) {
    for (size_t at = 0; at < bytes && at < 512; at += 64) {
        __builtin_prefetch(row + at);
    }
}

// The positions a search may return; all of them when words is null.
struct Allow {
    const uint64_t* words = nullptr; // bit p%64 of words[p/64]
    size_t n_words = 0;
    int64_t count = 0;

    bool all() const {
        return words == nullptr;
    }
    bool has(int64_t p) const {
        const size_t w = size_t(p) >> 6;
        return w < n_words && ((words[w] >> (p & 63)) & 1);
    }
};

struct Queries {
    const float* rows;
    int64_t n;
    int64_t k;
    float* scores;      // n x k
    int64_t* positions; // n x k
};

// What a scan has done, in vectors times queries.
struct ScanWork {
    int64_t coded = 0;  // looked at by code
    int64_t chosen = 0; // of these kept, for some time at least
    int64_t single = 0; // of these scored by their floats, wherever they lie
    int64_t plain = 0;  // scored by their floats in order, without a look at codes or in spite of it
};

// What the parts of one scan share, on whatever threads they run.
struct SharedScan {
    std::vector<BoundedQuery> queries; // with codes: prepared once
    std::vector<int8_t> weights;       // theirs, one row after the other
    std::vector<float> floor;          // scores that k vectors are known to reach; raised atomically
    ScanWork work;                     // so far; raised atomically
};

// One byte per vector, reset every 255 searches instead of every search.
class Visited {
public:
    explicit Visited(size_t n) : marks_(n) {}

    void next_search() {
        if (++epoch_ == 0) {
            std::fill(marks_.begin(), marks_.end(), uint8_t(0));
            epoch_ = 1;
        }
    }
    // True the first time in this search.
    bool visit(size_t i) {
        const bool first = marks_[i] != epoch_;
        marks_[i] = epoch_;
        return first;
    }
    void prefetch(size_t i) const {
        __builtin_prefetch(&marks_[i]);
    }

private:
    std::vector<uint8_t> marks_;
    uint8_t epoch_ = 0;
};

// Tables that wait for the next search; as many as ever searched at once.
class VisitedPool {
public:
    std::unique_ptr<Visited> take(size_t n);
    void give(std::unique_ptr<Visited> v);

private:
    std::mutex mu_;
    std::vector<std::unique_ptr<Visited>> idle_;
};

class Searcher {
public:
    // Throws when the index is not one of flat, HNSW over flat or SQ8, IVF flat
    // or IVF SQ8 without residuals, with inner product and positions as ids.
    // With threads for codes, floats are walked and scanned by 8-bit codes made here.
    Searcher(const faiss::Index& index, int code_threads);

    int64_t size() const {
        return n_;
    }
    size_t dims() const {
        return d_;
    }
    // What is stored of a vector: floats, or codes.
    const uint8_t* stored(int64_t position) const {
        return base_ ? base_ + size_t(position) * stride_ : rows_[size_t(position)];
    }
    bool stores_floats() const {
        return floats_;
    }
    // The vector's code, where there are any.
    const uint8_t* code(int64_t position) const {
        return codes_ ? codes_->row(size_t(position)) : stored(position);
    }
    const CodeRange& range() const {
        return codes_ ? codes_->range() : range_;
    }
    void vector(int64_t position, float* out) const;

    // Heap of this object, beyond that of the index.
    size_t bytes() const {
        return rows_.capacity() * sizeof(rows_[0]) + next_.capacity() * sizeof(next_[0]) +
                (codes_ ? codes_->bytes() : 0);
    }

    // Every vector of [begin, end). shared is of the same queries.
    SharedScan share(const float* rows, int64_t n) const;
    void scan(const Queries& q, SharedScan& shared, int64_t begin, int64_t end) const;

    // Exactly the n given positions.
    void scan_selected(const Queries& q, const uint32_t* positions, size_t n) const;

    // Graph search with a beam of ef. False when a query took more than
    // budget distances (0 = no bound); the results are then incomplete.
    bool search_graph(const Queries& q, int64_t ef, const Allow& allow, int64_t budget) const;

    // Probes at least nprobe lists and, under a filter, goes on until twice as
    // many allowed vectors were seen as an unfiltered search sees vectors.
    void search_lists(const Queries& q, int64_t nprobe, const Allow& allow) const;

    // The next vector equal to this one, by position; -1 after the last.
    int64_t next_equal(int64_t position) const {
        return next_.empty() ? -1 : next_[size_t(position)];
    }
    // Whether a vector or one of those equal to it may be returned.
    bool allowed(const Allow& allow, int64_t position) const {
        bool any = allow.all() || allow.has(position);
        for (int64_t p = next_equal(position); !any && p >= 0; p = next_equal(p)) {
            any = allow.has(p);
        }
        return any;
    }

    const faiss::IndexHNSW* graph() const {
        return hnsw_;
    }
    const faiss::IndexIVF* lists() const {
        return ivf_;
    }

    // Scores by what is stored: exact for floats, exact for the codes' values.
    void prepare(const float* query, ExactQuery& out) const;
    void score(const ExactQuery& q, const uint8_t* const* rows, size_t n, float* out) const;

private:
    void attach_flat(const faiss::Index& storage);
    void attach_lists(const faiss::IndexIVF& index);
    void scan_block(const float* q, size_t nq, std::vector<TopK>& best, int64_t begin,
                    int64_t end) const;
    void scan_codes(const Queries& q, SharedScan& shared, std::vector<TopK>& best, int64_t begin,
                    int64_t end) const;
    void rescore(const ExactQuery& q, TopK& candidates, const Allow& allow, TopK& best) const;
    void expand(const Hit& hit, const Allow& allow, TopK& best) const;

    size_t d_ = 0;
    int64_t n_ = 0;
    bool floats_ = true;
    size_t stride_ = 0;                // bytes stored of a vector
    const uint8_t* base_ = nullptr;    // vectors in order of position, or
    std::vector<const uint8_t*> rows_; // where each one lies
    CodeRange range_;                  // of stored codes
    std::vector<Position> next_;       // of equal vectors; empty when a graph has no copies
    const faiss::IndexHNSW* hnsw_ = nullptr;
    const faiss::IndexIVF* ivf_ = nullptr;
    const faiss::IndexFlat* centroids_ = nullptr;
    std::unique_ptr<Codes> codes_;
    mutable VisitedPool visited_;
};

} // namespace vs
