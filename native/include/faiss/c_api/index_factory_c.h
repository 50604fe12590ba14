/* Debian's header plus what the binding expects in it. What stands here are stubs: src/unused.cpp. */
#ifndef VECTORSTORE_INDEX_FACTORY_C_H
#define VECTORSTORE_INDEX_FACTORY_C_H

#include_next <faiss/c_api/index_factory_c.h>
#include <faiss/c_api/IndexBinary_c.h>

#ifdef __cplusplus
extern "C" {
#endif

int faiss_index_binary_factory(
        FaissIndexBinary** p_index,
        int d,
        const char* description);

#ifdef __cplusplus
}
#endif
#endif
