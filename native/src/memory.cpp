// What an index is, storage that is sized once, and heap that goes back to the
// system.
#include "error.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexScalarQuantizer.h>

#include <vectorstore/native.h>

#include <malloc.h>

namespace {

// FAISS grows its vectors by doubling, which peaks at three times the data.
void reserve(faiss::Index& index, size_t n) {
    if (auto* codes = dynamic_cast<faiss::IndexFlatCodes*>(&index)) {
        codes->codes.reserve(n * codes->code_size);
    }
    if (auto* hnsw = dynamic_cast<faiss::IndexHNSW*>(&index)) {
        faiss::HNSW& g = hnsw->hnsw;
        g.levels.reserve(n);
        g.offsets.reserve(n + 1);
        // Level l+1 is reached by 1/M of the vectors of level l.
        const size_t base = size_t(g.nb_neighbors(0));
        const size_t upper = base > 2 ? base / 2 : 1;
        const size_t per_vector = base + (upper + upper - 1) / (upper > 1 ? upper - 1 : 1);
        g.neighbors.reserve(n * (per_vector + 1));
        reserve(*hnsw->storage, n);
    }
}

void shrink(faiss::Index& index) {
    if (auto* codes = dynamic_cast<faiss::IndexFlatCodes*>(&index)) {
        codes->codes.shrink_to_fit();
    }
    if (auto* hnsw = dynamic_cast<faiss::IndexHNSW*>(&index)) {
        hnsw->hnsw.levels.shrink_to_fit();
        hnsw->hnsw.offsets.shrink_to_fit();
        hnsw->hnsw.neighbors.shrink_to_fit();
        shrink(*hnsw->storage);
    }
    if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(&index)) {
        if (auto* lists = dynamic_cast<faiss::ArrayInvertedLists*>(ivf->invlists)) {
            for (size_t l = 0; l < lists->nlist; l++) {
                lists->codes[l].shrink_to_fit();
                lists->ids[l].shrink_to_fit();
            }
        }
    }
}

// glibc raises both thresholds to the largest block ever freed. Then the next
// index comes from a thread's arena, whose end malloc_trim does not return, and
// stays resident after it is closed. Fixed thresholds keep big blocks mapped.
__attribute__((constructor)) void fix_thresholds() {
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

} // namespace

extern "C" {

int vs_reserve(void* index, int64_t n) {
    return vs::guarded([&] {
        vs::require(n >= 0, "negative number of vectors");
        reserve(*static_cast<faiss::Index*>(index), size_t(n));
    });
}

int vs_shrink(void* index) {
    return vs::guarded([&] { shrink(*static_cast<faiss::Index*>(index)); });
}

const char* vs_kind(const void* index) {
    auto* ix = static_cast<const faiss::Index*>(index);
    auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(ix);
    if (hnsw && dynamic_cast<const faiss::IndexFlat*>(hnsw->storage)) {
        return "hnsw";
    }
    if (hnsw && dynamic_cast<const faiss::IndexScalarQuantizer*>(hnsw->storage)) {
        return "hnsw-sq8";
    }
    if (dynamic_cast<const faiss::IndexIVFFlat*>(ix)) {
        return "ivf";
    }
    if (dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(ix)) {
        return "ivf-sq8";
    }
    return dynamic_cast<const faiss::IndexFlat*>(ix) ? "flat" : "other";
}

int64_t vs_structure(const void* index) {
    auto* ix = static_cast<const faiss::Index*>(index);
    if (auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(ix)) {
        return hnsw->hnsw.nb_neighbors(0) / 2;
    }
    auto* ivf = dynamic_cast<const faiss::IndexIVF*>(ix);
    return ivf ? int64_t(ivf->nlist) : 0;
}

void vs_release_memory(void) {
    malloc_trim(0);
}

const char* vs_faiss_version(void) {
#define VS_STR2(x) #x
#define VS_STR(x) VS_STR2(x)
    return VS_STR(FAISS_VERSION_MAJOR) "." VS_STR(FAISS_VERSION_MINOR) "." VS_STR(
            FAISS_VERSION_PATCH);
}

} // extern "C"
