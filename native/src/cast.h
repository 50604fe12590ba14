// The opaque C types are the C++ objects themselves.
#pragma once

#include <faiss/Index.h>

#include <faiss/c_api/Index_c.h>

namespace vs {

inline faiss::Index* cpp(FaissIndex* p) {
    return reinterpret_cast<faiss::Index*>(p);
}
inline const faiss::Index* cpp(const FaissIndex* p) {
    return reinterpret_cast<const faiss::Index*>(p);
}
inline FaissIndex* c(faiss::Index* p) {
    return reinterpret_cast<FaissIndex*>(p);
}

} // namespace vs
