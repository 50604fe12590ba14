// index_io_c.h and index_io_c_ex.h.
#include "cast.h"
#include "error.h"
#include "threads.h"

#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <faiss/c_api/index_io_c_ex.h>

#include <cstdlib>
#include <cstring>
#include <memory>

using vs::cpp;
using vs::guarded;

namespace {

struct MemoryReader : faiss::IOReader {
    const unsigned char* data;
    size_t left;

    MemoryReader(const unsigned char* p, size_t n) : data(p), left(n) {}

    size_t operator()(void* out, size_t size, size_t items) override {
        const size_t n = size ? std::min(items, left / size) : 0;
        std::memcpy(out, data, n * size);
        data += n * size;
        left -= n * size;
        return n;
    }
};

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

int faiss_read_index_fname(const char* fname, int, FaissIndex** p_out) {
    return guarded([&] { *p_out = vs::c(faiss::read_index(fname)); });
}

int faiss_read_index_buf(const unsigned char* buf, size_t size, int, FaissIndex** p_out) {
    return guarded([&] {
        MemoryReader r(buf, size);
        *p_out = vs::c(faiss::read_index(&r));
    });
}

int faiss_read_index_binary_buf(
        const unsigned char* buf, size_t size, int, FaissIndexBinary** p_out) {
    return guarded([&] {
        MemoryReader r(buf, size);
        *p_out = vs::c(faiss::read_index_binary(&r));
    });
}

} // extern "C"
