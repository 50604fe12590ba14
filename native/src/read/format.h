#pragma once

#include "source.h"

namespace vs {

// Walks a FAISS file from its first byte to its last without keeping it, and
// throws unless it is of an allowed type and every size in it fits the others
// and the bytes that are there. Afterwards faiss::read_index allocates no more
// than about the file's size and cannot stop half way (it leaks when it does).
//
// Allowed: IndexFlat, IndexScalarQuantizer (8 bit, fp16), IndexIVFFlat and
// IndexIVFScalarQuantizer over a flat quantizer, IndexHNSW over flat or scalar
// quantizer storage, IDMap of these; inner product or L2.
void check_format(Source& source);

// The same for binary indexes: flat, and IVF over a flat quantizer.
void check_binary_format(Source& source);

} // namespace vs
