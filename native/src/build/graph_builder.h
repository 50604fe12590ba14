// Builds the HNSW graph of an IndexHNSW over flat inner-product storage, in
// FAISS's own arrays and by its rules (Malkov and Yashunin, 2016, algorithms 1
// and 4), but finding candidates on 8-bit codes: insertion spends most of its
// time looking at vectors that it does not link. Candidates are scored by the
// stored vectors before links are chosen among them. Copies of a vector are
// marked instead of linked (engine/copies.h).
#pragma once

#include "../engine/codes.h"
#include "../engine/copies.h"
#include "../engine/searcher.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace vs {

class GraphBuilder {
public:
    // The storage of index holds all vectors, its graph none.
    GraphBuilder(faiss::IndexHNSW& index, int threads);

    // Takes over the links among the vectors that old has too: from[i] is the
    // position in old of vector i, or negative. Vectors that lost a neighbour
    // get new links among that neighbour's. Only the others are inserted.
    GraphBuilder(faiss::IndexHNSW& index, int threads, const faiss::HNSW& old,
                 const int64_t* from);
    ~GraphBuilder();

    // How many vectors insert has to insert.
    int64_t size() const {
        return int64_t(order_.size());
    }
    // Inserts the from-th to the (to-1)-th vector in order of insertion, which
    // is by level and random within it. Ranges must follow each other from 0.
    void insert(int64_t from, int64_t to);

private:
    struct Scratch;
    using Id = faiss::HNSW::storage_idx_t;

    const float* row(int64_t i) const {
        return storage_.get_xb() + size_t(i) * size_t(storage_.d);
    }
    void find_copies(int threads);
    void set_order(const std::vector<bool>& linked);
    void make_scratch(int threads);
    std::vector<int64_t> carried(const faiss::HNSW& old, const int64_t* from) const;
    void carry_links(const faiss::HNSW& old, const int64_t* from);
    void carry_links_of(Scratch& s, const faiss::HNSW& old, const std::vector<Id>& now, Id id,
                        Id before);
    void insert_one(Scratch& s, Id id);
    Hit descend(Scratch& s, int from_level, int to_level);
    void collect(Scratch& s, Id id, Hit entry, int level);
    void link(Scratch& s, Id id, int level);
    void add_link(Scratch& s, Id from, Id to, int level);
    void choose(Scratch& s, size_t most);
    bool apart(const Scratch& s, const Hit& candidate) const;
    void replace_lost(Scratch& s, Id id, size_t most);
    size_t copy_links(Scratch& s, Id of, int level);
    void prefetch_links(Id of, int level) const;
    void score_codes(Scratch& s, size_t n);

    faiss::IndexHNSW& index_;
    const faiss::IndexFlat& storage_;
    faiss::HNSW& graph_;
    Codes codes_;
    std::vector<Id> first_; // of equal vectors; the others are copies, and not linked
    std::vector<Id> order_; // what is to be inserted
    std::vector<std::atomic<uint8_t>> locks_;
    std::vector<std::unique_ptr<Scratch>> scratch_; // one for each thread
};

} // namespace vs
