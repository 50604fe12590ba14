// Index files. Reading is guarded three times: the format
// is walked, FAISS reads under an allocation budget, the result is validated.
#include "../heap.h"
#include "format.h"
#include "source.h"
#include "validate.h"

#include "../cast.h"
#include "../error.h"

#include <faiss/index_io.h>

#include <faiss/c_api/index_io_c_ex.h>

#include <algorithm>
#include <memory>

using vs::cpp;
using vs::guarded;

namespace {

// The data once, list headers (48 bytes a list, which has a centroid of at
// least 4) and FAISS's temporary list sizes.
size_t budget_for(size_t file_size) {
    return (size_t(1) << 20) + 16 * std::min<size_t>(file_size, 1 << 20) + 2 * file_size;
}

std::unique_ptr<faiss::Index> read(vs::Source& source) {
    const size_t size = source.left();
    vs::check_format(source);
    source.rewind();
    std::unique_ptr<faiss::Index> index;
    {
        vs::AllocationBudget budget(budget_for(size));
        index.reset(faiss::read_index(&source));
    }
    vs::validate(*index);
    return index;
}

} // namespace

extern "C" {

int faiss_write_index_fname(const FaissIndex* index, const char* fname) {
    return guarded([&] { faiss::write_index(cpp(index), fname); });
}

// The flags ask for memory maps, which 1.7.3 has only for lists on disk.
int faiss_read_index_fname(const char* fname, int, FaissIndex** p_out) {
    return guarded([&] {
        vs::Source source(fname);
        *p_out = vs::c(read(source).release());
    });
}

} // extern "C"
