#pragma once

#include <faiss/Index.h>

#include <cstddef>

namespace vs {

// Bytes of heap the index holds, counted from the capacities of its vectors.
size_t resident_bytes(const faiss::Index& index);

} // namespace vs
