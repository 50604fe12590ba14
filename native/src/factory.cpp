// The index factory behind an allow-list: FAISS's parser divides by zero on
// "IVF64,PQ0", accepts "HNSW0", and allocates whatever a number asks for.
#include "cast.h"
#include "error.h"
#include "read/format.h"

#include <faiss/index_factory.h>

#include <faiss/c_api/index_factory_c.h>

#include <cstdlib>
#include <regex>
#include <string>

using vs::guarded;

namespace {

// Every number of an allowed description stays within these bounds.
constexpr long kMaxLists = 1 << 20;
constexpr long kMaxLinks = 512;

// The number behind the first letters, or -1.
long number_after(const std::string& s, const char* prefix) {
    const size_t at = s.find(prefix);
    if (at == std::string::npos) {
        return -1;
    }
    return std::strtol(s.c_str() + at + std::string(prefix).size(), nullptr, 10);
}

void check_description(const std::string& s) {
    static const std::regex allowed("Flat|HNSW[0-9]{1,3},(Flat|SQ8)|IVF[0-9]{1,7},(Flat|SQ8)");
    vs::require(std::regex_match(s, allowed), "index description not allowed");
    const long lists = number_after(s, "IVF");
    vs::require(lists == -1 || (lists >= 1 && lists <= kMaxLists), "number of lists out of range");
    const long links = number_after(s, "HNSW");
    vs::require(links == -1 || (links >= 2 && links <= kMaxLinks), "number of links out of range");
}

} // namespace

extern "C" {

int faiss_index_factory(
        FaissIndex** p_index, int d, const char* description, FaissMetricType metric) {
    return guarded([&] {
        vs::require(description != nullptr, "no index description");
        vs::require(d > 0 && d <= vs::kMaxDims, "dimension out of range");
        vs::require(metric == METRIC_INNER_PRODUCT, "metric not allowed");
        check_description(description);
        *p_index = vs::c(faiss::index_factory(d, description, faiss::MetricType(metric)));
    });
}

} // extern "C"
