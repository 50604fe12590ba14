#pragma once

#include "source.h"

#include <cstdint>

namespace vs {

// The widest vector of an index, made or read.
constexpr int64_t kMaxDims = 1 << 16;

// Walks a FAISS file from its first byte to its last without keeping it, and
// throws unless it is of an allowed type and every size in it fits the others
// and the bytes that are there. Afterwards faiss::read_index allocates no more
// than about the file's size and cannot stop half way (it leaks when it does).
//
// Allowed: IndexFlat, IndexIVFFlat and IndexIVFScalarQuantizer (8 bit) over a
// flat quantizer, IndexHNSW over flat or scalar quantizer storage; inner product
// or L2.
void check_format(Source& source);

} // namespace vs
