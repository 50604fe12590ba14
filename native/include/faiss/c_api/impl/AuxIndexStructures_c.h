/* Debian's AuxIndexStructures_c.h plus the bitmap and complement selectors. */
#ifndef VECTORSTORE_AUX_INDEX_STRUCTURES_C_H
#define VECTORSTORE_AUX_INDEX_STRUCTURES_C_H

#include_next <faiss/c_api/impl/AuxIndexStructures_c.h>

#ifdef __cplusplus
extern "C" {
#endif

FAISS_DECLARE_CLASS(IDSelectorBitmap)
FAISS_DECLARE_CLASS(IDSelectorNot)

/* Bit id%8 of bitmap[id/8] selects id; the n bytes are copied. */
int faiss_IDSelectorBitmap_new(
        FaissIDSelectorBitmap** p_sel,
        size_t n,
        const uint8_t* bitmap);

/* sel is borrowed and must outlive the new selector. */
int faiss_IDSelectorNot_new(
        FaissIDSelectorNot** p_sel,
        const FaissIDSelector* sel);

#ifdef __cplusplus
}
#endif
#endif
