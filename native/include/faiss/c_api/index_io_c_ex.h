/* What the binding includes and Debian lacks. All of these are stubs: src/unused.cpp. */
#ifndef VECTORSTORE_INDEX_IO_C_EX_H
#define VECTORSTORE_INDEX_IO_C_EX_H

#include <faiss/c_api/index_io_c.h>

/* Accepted and ignored: every index is read into memory. */
#define FAISS_IO_FLAG_READ_MMAP 0x10000
#define FAISS_IO_FLAG_ONDISK_IVF 0x20000
#define FAISS_IO_FLAG_SKIP_PREFETCH 0x40000

#ifdef __cplusplus
extern "C" {
#endif

/* *buf is allocated here and released by faiss_free_buf. */
int faiss_write_index_buf(const FaissIndex* index, size_t* size, unsigned char** buf);
int faiss_write_index_binary_buf(const FaissIndexBinary* index, size_t* size, unsigned char** buf);
void faiss_free_buf(unsigned char** buf);

int faiss_read_index_buf(
        const unsigned char* buf,
        size_t size,
        int io_flags,
        FaissIndex** p_out);
int faiss_read_index_binary_buf(
        const unsigned char* buf,
        size_t size,
        int io_flags,
        FaissIndexBinary** p_out);

#ifdef __cplusplus
}
#endif
#endif
