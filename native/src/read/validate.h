#pragma once

#include <faiss/Index.h>

namespace vs {

// Throws unless every stored number that FAISS or our searches later use as a
// position, offset or level is within its bounds. A loaded index that passes
// can be searched, written and freed without reading outside its memory.
void validate(const faiss::Index& index);

} // namespace vs
