/* What the binding includes and Debian lacks. All of these are stubs: src/unused.cpp. */
#ifndef VECTORSTORE_INDEX_BINARY_IVF_C_H
#define VECTORSTORE_INDEX_BINARY_IVF_C_H

#include <faiss/c_api/IndexBinary_c.h>
#include <faiss/c_api/IndexIVF_c.h>

#ifdef __cplusplus
extern "C" {
#endif

FAISS_DECLARE_CLASS_INHERITED(IndexBinaryIVF, IndexBinary)

FaissIndexBinaryIVF* faiss_IndexBinaryIVF_cast(FaissIndexBinary* index);

FAISS_DECLARE_GETTER(IndexBinaryIVF, size_t, nlist)
FAISS_DECLARE_GETTER_SETTER(IndexBinaryIVF, size_t, nprobe)

#ifdef __cplusplus
}
#endif
#endif
