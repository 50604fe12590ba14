// Selectors, search parameters, range results and the parameter space.
#include "cast.h"
#include "error.h"
#include "handle.h"

#include <faiss/AutoTune.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/AuxIndexStructures.h>

#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/IndexIVF_c.h>

#include <cmath>
#include <cstring>
#include <vector>

using vs::cpp;
using vs::guarded;

namespace {

// FAISS keeps the caller's pointer; a Go slice must not be kept, so this
// selector owns a copy.
struct OwnedBitmap : faiss::IDSelector {
    std::vector<uint8_t> bits;

    OwnedBitmap(size_t n, const uint8_t* bitmap) : bits(bitmap, bitmap + n) {}

    bool is_member(idx_t id) const final {
        const uint64_t i = uint64_t(id);
        return (i >> 3) < bits.size() && ((bits[i >> 3] >> (i & 7)) & 1);
    }
};

faiss::IDSelector* mutable_selector(FaissIDSelector* sel) {
    return reinterpret_cast<faiss::IDSelector*>(sel);
}

template <class C, class T>
void give(C** out, T* made) {
    *out = reinterpret_cast<C*>(made);
}

faiss::RangeSearchResult* cpp_result(FaissRangeSearchResult* r) {
    return reinterpret_cast<faiss::RangeSearchResult*>(r);
}

} // namespace

extern "C" {

int faiss_IDSelectorRange_new(FaissIDSelectorRange** p_sel, idx_t imin, idx_t imax) {
    return guarded([&] {
        give(p_sel, static_cast<faiss::IDSelector*>(new faiss::IDSelectorRange(imin, imax)));
    });
}

int faiss_IDSelectorBatch_new(FaissIDSelectorBatch** p_sel, size_t n, const idx_t* indices) {
    return guarded([&] {
        give(p_sel, static_cast<faiss::IDSelector*>(new faiss::IDSelectorBatch(n, indices)));
    });
}

int faiss_IDSelectorBitmap_new(FaissIDSelectorBitmap** p_sel, size_t n, const uint8_t* bitmap) {
    return guarded([&] {
        give(p_sel, static_cast<faiss::IDSelector*>(new OwnedBitmap(n, bitmap)));
    });
}

int faiss_IDSelectorNot_new(FaissIDSelectorNot** p_sel, const FaissIDSelector* sel) {
    return guarded([&] {
        give(p_sel, static_cast<faiss::IDSelector*>(new faiss::IDSelectorNot(cpp(sel))));
    });
}

void faiss_IDSelector_free(FaissIDSelector* sel) {
    delete mutable_selector(sel);
}

int faiss_SearchParameters_new(FaissSearchParameters** p_sp, FaissIDSelector* sel) {
    return guarded([&] {
        auto* sp = new faiss::SearchParameters;
        sp->sel = mutable_selector(sel);
        give(p_sp, sp);
    });
}

int faiss_SearchParametersIVF_new_with(
        FaissSearchParametersIVF** p_sp, FaissIDSelector* sel, size_t nprobe, size_t max_codes) {
    return guarded([&] {
        auto* sp = new faiss::SearchParametersIVF;
        sp->sel = mutable_selector(sel);
        sp->nprobe = nprobe;
        sp->max_codes = max_codes;
        give(p_sp, static_cast<faiss::SearchParameters*>(sp));
    });
}

int faiss_SearchParametersIVF_nprobe(const FaissSearchParametersIVF* params) {
    auto* ivf = dynamic_cast<const faiss::SearchParametersIVF*>(cpp(params));
    return ivf ? int(ivf->nprobe) : 0;
}

void faiss_SearchParameters_free(FaissSearchParameters* params) {
    delete reinterpret_cast<faiss::SearchParameters*>(params);
}

int faiss_RangeSearchResult_new(FaissRangeSearchResult** p_rsr, idx_t nq) {
    return guarded([&] { give(p_rsr, new faiss::RangeSearchResult(nq)); });
}

void faiss_RangeSearchResult_free(FaissRangeSearchResult* rsr) {
    delete cpp_result(rsr);
}

size_t faiss_RangeSearchResult_nq(const FaissRangeSearchResult* rsr) {
    return reinterpret_cast<const faiss::RangeSearchResult*>(rsr)->nq;
}

void faiss_RangeSearchResult_lims(FaissRangeSearchResult* rsr, size_t** lims) {
    *lims = cpp_result(rsr)->lims;
}

void faiss_RangeSearchResult_labels(
        FaissRangeSearchResult* rsr, idx_t** labels, float** distances) {
    *labels = cpp_result(rsr)->labels;
    *distances = cpp_result(rsr)->distances;
}

int faiss_ParameterSpace_new(FaissParameterSpace** space) {
    return guarded([&] { give(space, new faiss::ParameterSpace); });
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
