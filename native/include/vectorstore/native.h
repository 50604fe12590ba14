/* What the native library offers beyond the C API of FAISS. */
#ifndef VECTORSTORE_NATIVE_H
#define VECTORSTORE_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The index published under token by the parameter "vectorstore_handle", once;
 * NULL when there is none. The index stays owned by its go-faiss object. */
void* vs_take_handle(uint64_t token);

/* Version of the FAISS library, e.g. "1.7.3". */
const char* vs_faiss_version(void);

/* Gives freed heap back to the system. */
void vs_release_memory(void);

/* Grows the storage of an index once, to n vectors in all. */
int vs_reserve(void* index, int64_t n);

/* Drops the growth slack of the storage after the last add. */
int vs_shrink(void* index);

#ifdef __cplusplus
}
#endif
#endif
