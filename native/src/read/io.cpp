// index_io_c.h and index_io_c_ex.h. Reading is guarded three times: the format
// is walked, FAISS reads under an allocation budget, the result is validated.
#include "../heap.h"
#include "format.h"
#include "source.h"
#include "validate.h"

#include "../cast.h"
#include "../error.h"

#include <faiss/index_io.h>

#include <faiss/c_api/index_io_c_ex.h>

#include <cstdlib>
#include <cstring>
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

std::unique_ptr<faiss::IndexBinary> read_binary(vs::Source& source) {
    const size_t size = source.left();
    vs::check_binary_format(source);
    source.rewind();
    std::unique_ptr<faiss::IndexBinary> index;
    {
        vs::AllocationBudget budget(budget_for(size));
        index.reset(faiss::read_index_binary(&source));
    }
    vs::validate(*index);
    return index;
}

void hand_over(const faiss::VectorIOWriter& w, size_t* size, unsigned char** buf) {
    *buf = static_cast<unsigned char*>(std::malloc(w.data.size() ? w.data.size() : 1));
    if (!*buf) {
        throw std::bad_alloc();
    }
    std::memcpy(*buf, w.data.data(), w.data.size());
    *size = w.data.size();
}

} // namespace

extern "C" {

int faiss_write_index_fname(const FaissIndex* index, const char* fname) {
    return guarded([&] { faiss::write_index(cpp(index), fname); });
}

int faiss_write_index_buf(const FaissIndex* index, size_t* size, unsigned char** buf) {
    return guarded([&] {
        faiss::VectorIOWriter w;
        faiss::write_index(cpp(index), &w);
        hand_over(w, size, buf);
    });
}

int faiss_write_index_binary_buf(const FaissIndexBinary* index, size_t* size, unsigned char** buf) {
    return guarded([&] {
        faiss::VectorIOWriter w;
        faiss::write_index_binary(cpp(index), &w);
        hand_over(w, size, buf);
    });
}

void faiss_free_buf(unsigned char** buf) {
    if (buf) {
        std::free(*buf);
        *buf = nullptr;
    }
}

// The flags ask for memory maps, which 1.7.3 has only for lists on disk.
int faiss_read_index_fname(const char* fname, int, FaissIndex** p_out) {
    return guarded([&] {
        vs::FileSource source(fname);
        *p_out = vs::c(read(source).release());
    });
}

int faiss_read_index_buf(const unsigned char* buf, size_t size, int, FaissIndex** p_out) {
    return guarded([&] {
        vs::MemorySource source(buf, size);
        *p_out = vs::c(read(source).release());
    });
}

int faiss_read_index_binary_buf(
        const unsigned char* buf, size_t size, int, FaissIndexBinary** p_out) {
    return guarded([&] {
        vs::MemorySource source(buf, size);
        *p_out = vs::c(read_binary(source).release());
    });
}

} // extern "C"
