// What vecindex calls through the binding, besides the factory (factory.cpp) and files (read/io.cpp). The rest of the
// binding's calls are in unused.cpp.
#include "cast.h"
#include "error.h"
#include "handle.h"
#include "size.h"
#include "threads.h"

#include <faiss/AutoTune.h>
#include <faiss/IndexIVF.h>

#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/IndexIVF_c.h>
#include <faiss/c_api/Index_c_ex.h>

#include <algorithm>
#include <cmath>
#include <cstring>

using vs::cpp;
using vs::guarded;

extern "C" {

void faiss_Index_free(FaissIndex* index) {
    delete cpp(index);
}

int faiss_Index_d(const FaissIndex* index) {
    return int(cpp(index)->d);
}

idx_t faiss_Index_ntotal(const FaissIndex* index) {
    return cpp(index)->ntotal;
}

size_t faiss_Index_size(const FaissIndex* index) {
    return vs::resident_bytes(*cpp(index));
}

int faiss_Index_train(FaissIndex* index, idx_t n, const float* x) {
    return guarded([&] {
        vs::BuildScope scope;
        cpp(index)->train(n, x);
    });
}

int faiss_Index_add(FaissIndex* index, idx_t n, const float* x) {
    return guarded([&] {
        vs::BuildScope scope;
        cpp(index)->add(n, x);
    });
}

FaissIndexIVF* faiss_IndexIVF_cast(FaissIndex* index) {
    return vs::c(dynamic_cast<faiss::IndexIVF*>(cpp(index)));
}

void faiss_IndexIVF_set_nprobe(FaissIndexIVF* index, size_t nprobe) {
    if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(cpp(index))) {
        ivf->nprobe = std::clamp<size_t>(nprobe, 1, ivf->nlist);
    }
}

int faiss_ParameterSpace_new(FaissParameterSpace** space) {
    return guarded([&] { *space = reinterpret_cast<FaissParameterSpace*>(new faiss::ParameterSpace); });
}

void faiss_ParameterSpace_free(FaissParameterSpace* space) {
    delete reinterpret_cast<faiss::ParameterSpace*>(space);
}

int faiss_ParameterSpace_set_index_parameter(
        const FaissParameterSpace* space, FaissIndex* index, const char* name, double value) {
    return guarded([&] {
        if (std::strcmp(name, vs::kHandleParameter) == 0) {
            vs::publish_handle(value, cpp(index));
            return;
        }
        vs::require(std::isfinite(value) && value >= 0, "parameter value out of range");
        reinterpret_cast<const faiss::ParameterSpace*>(space)->set_index_parameter(
                cpp(index), name, value);
    });
}

} // extern "C"
