// A read-only view of a finished index, and the searches over it.
//
// A Searcher borrows the FAISS object, which must not change or go away while
// the Searcher lives. All methods are const and may run on any number of
// threads; each uses only the calling thread.
#pragma once

#include "codes.h"
#include "topk.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace vs {

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
        if (marks_[i] == epoch_) {
            return false;
        }
        marks_[i] = epoch_;
        return true;
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
    // Throws when the index is not one of flat, HNSW over flat, IVF flat with
    // inner product and positions as ids.
    // With codes, a graph is walked on 8-bit codes made here.
    Searcher(const faiss::Index& index, bool with_codes);

    int64_t size() const {
        return n_;
    }
    size_t dims() const {
        return d_;
    }
    const float* row(int64_t position) const {
        return base_ ? base_ + size_t(position) * d_ : rows_[size_t(position)];
    }
    // Heap of this object, beyond that of the index.
    size_t bytes() const {
        return rows_.capacity() * sizeof(rows_[0]) + (codes_ ? codes_->bytes() : 0);
    }

    // Every vector of [begin, end); for IVF, of these lists' ranks in storage.
    void scan(const Queries& q, int64_t begin, int64_t end) const;

    // Exactly the n given positions.
    void scan_selected(const Queries& q, const uint32_t* positions, size_t n) const;

    // Graph search with beam width ef. False when a query took more than
    // budget distances (0 = no bound); the results are then incomplete.
    bool search_graph(const Queries& q, int64_t ef, const Allow& allow, int64_t budget) const;

    // Probes at least nprobe lists and, under a filter, goes on until twice as
    // many allowed vectors were seen as an unfiltered search sees vectors.
    void search_lists(const Queries& q, int64_t nprobe, const Allow& allow) const;

    const Codes* codes() const {
        return codes_.get();
    }
    const faiss::IndexHNSW* graph() const {
        return hnsw_;
    }
    const faiss::IndexIVFFlat* lists() const {
        return ivf_;
    }

private:
    void scan_block(const float* q, size_t nq, std::vector<TopK>& best, int64_t begin,
                    int64_t end) const;
    void rescore(const float* q, TopK& candidates, TopK& best) const;
    void index_lists();

    size_t d_ = 0;
    int64_t n_ = 0;
    const float* base_ = nullptr;      // vectors in order of position, or
    std::vector<const float*> rows_;   // where each one lies
    const faiss::IndexHNSW* hnsw_ = nullptr;
    const faiss::IndexIVFFlat* ivf_ = nullptr;
    const faiss::IndexFlat* centroids_ = nullptr;
    std::unique_ptr<Codes> codes_;
    mutable VisitedPool visited_;
};

} // namespace vs
