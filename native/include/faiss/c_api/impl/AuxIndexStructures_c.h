/* Debian's header plus what the binding expects in it. What stands here are stubs: src/unused.cpp. */
#ifndef VECTORSTORE_AUX_INDEX_STRUCTURES_C_H
#define VECTORSTORE_AUX_INDEX_STRUCTURES_C_H

#include_next <faiss/c_api/impl/AuxIndexStructures_c.h>

#ifdef __cplusplus
extern "C" {
#endif

FAISS_DECLARE_CLASS(IDSelectorBitmap)
FAISS_DECLARE_CLASS(IDSelectorNot)

int faiss_IDSelectorBitmap_new(
        FaissIDSelectorBitmap** p_sel,
        size_t n,
        const uint8_t* bitmap);

int faiss_IDSelectorNot_new(
        FaissIDSelectorNot** p_sel,
        const FaissIDSelector* sel);

#ifdef __cplusplus
}
#endif
#endif
