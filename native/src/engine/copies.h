// Vectors that are stored more than once.
//
// Equal vectors are each other's nearest neighbours: linked like others they
// fill each other's links, and a graph of many copies of few texts falls into
// islands. So a graph links the first of equal vectors only. A copy is marked by
// two equal links on the ground level to the first, which nothing else writes;
// other readers of the file see a vector that no link leads to.
#pragma once

#include <faiss/IndexHNSW.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vs {

using Position = faiss::HNSW::storage_idx_t;

// For each of n rows the first that has the same bytes, itself for most.
std::vector<Position> first_of_equal(const uint8_t* rows, size_t n, size_t bytes, int threads);

void mark_copy(faiss::HNSW& graph, Position copy, Position first);

// The first of a marked copy, -1 for any other vector.
Position marked_copy(const faiss::HNSW& graph, Position i);

// For each vector the next with the same bytes, by position, -1 at the end;
// empty when the graph has no copies. The list begins at the first. Marks that
// the stored rows contradict are none.
std::vector<Position> chains(const faiss::HNSW& graph, const uint8_t* rows, size_t bytes);

} // namespace vs
