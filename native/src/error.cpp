#include "error.h"

#include <faiss/c_api/error_c.h>

#include <cstdio>

namespace {
// Fixed storage: reporting an error must not allocate.
thread_local char last_error[512] = "";
} // namespace

namespace vs {

void set_last_error(const char* what) noexcept {
    std::snprintf(last_error, sizeof last_error, "%s", what);
}

} // namespace vs

extern "C" const char* faiss_get_last_error() {
    return last_error;
}
