#pragma once

#include <faiss/Index.h>

namespace vs {

// The widest vector any entry point accepts.
constexpr faiss::Index::idx_t kMaxDims = 1 << 16;

// Searches n rows of index.d floats for the k best each. params may be null;
// its selector works on every index type whose codes FAISS can filter, and on
// IDMap by translation.
void search(
        const faiss::Index& index,
        faiss::Index::idx_t n,
        const float* x,
        faiss::Index::idx_t k,
        const faiss::SearchParameters* params,
        float* distances,
        faiss::Index::idx_t* labels);

} // namespace vs
