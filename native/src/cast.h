// The opaque C types are the C++ objects themselves.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexBinary.h>
#include <faiss/impl/IDSelector.h>

#include <faiss/c_api/IndexBinary_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/impl/AuxIndexStructures_c.h>

namespace vs {

inline faiss::Index* cpp(FaissIndex* p) {
    return reinterpret_cast<faiss::Index*>(p);
}
inline const faiss::Index* cpp(const FaissIndex* p) {
    return reinterpret_cast<const faiss::Index*>(p);
}
inline faiss::IndexBinary* cpp(FaissIndexBinary* p) {
    return reinterpret_cast<faiss::IndexBinary*>(p);
}
inline const faiss::IndexBinary* cpp(const FaissIndexBinary* p) {
    return reinterpret_cast<const faiss::IndexBinary*>(p);
}
inline const faiss::IDSelector* cpp(const FaissIDSelector* p) {
    return reinterpret_cast<const faiss::IDSelector*>(p);
}
inline const faiss::SearchParameters* cpp(const FaissSearchParameters* p) {
    return reinterpret_cast<const faiss::SearchParameters*>(p);
}
inline FaissIndex* c(faiss::Index* p) {
    return reinterpret_cast<FaissIndex*>(p);
}
inline FaissIndexBinary* c(faiss::IndexBinary* p) {
    return reinterpret_cast<FaissIndexBinary*>(p);
}

} // namespace vs
