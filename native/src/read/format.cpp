// The file layout is that of FAISS 1.7.3's index_write.cpp: fields in host
// (little-endian) order without padding, vectors as a 64-bit length and data.
#include "format.h"

#include "../error.h"

#include <faiss/Index.h>
#include <faiss/impl/ScalarQuantizer.h>

#include <cstring>
#include <vector>

namespace vs {
namespace {

using idx_t = faiss::Index::idx_t;
using Tag = uint32_t;

constexpr Tag tag(const char (&s)[5]) {
    return Tag(uint8_t(s[0])) | Tag(uint8_t(s[1])) << 8 | Tag(uint8_t(s[2])) << 16 |
            Tag(uint8_t(s[3])) << 24;
}

struct Header {
    uint64_t dims;
    uint64_t rows;
    int metric;
    bool trained;
};

class Walker {
public:
    explicit Walker(Source& s) : s_(s) {}

    void file() {
        index();
        require(s_.left() == 0, "bytes after the end of the index");
    }

private:
    void index();
    Header header();
    void graph(const Header& h);
    void storage(const Header& h);
    void flat_codes(const Header& h, uint64_t code_size);
    uint64_t scalar_quantizer(const Header& h);
    void ivf(const Header& h, bool sq);
    void lists(const Header& h, uint64_t nlist, uint64_t code_size);
    void direct_map(const Header& h);

    template <class T>
    T field() {
        T v;
        require(s_(&v, sizeof v, 1) == 1, "index file cut short");
        return v;
    }
    // Passes over n items and returns n.
    uint64_t skip(uint64_t n, uint64_t size) {
        require(n <= s_.left() / size, "index file cut short");
        s_.skip(n * size);
        return n;
    }
    // Passes over a vector of items of this size; its length.
    uint64_t vector(uint64_t size) {
        return skip(field<uint64_t>(), size);
    }
    void vector_of(uint64_t expected, uint64_t size, const char* what) {
        require(field<uint64_t>() == expected, what);
        skip(expected, size);
    }

    Source& s_;
};

Header Walker::header() {
    Header h;
    const auto dims = field<int32_t>();
    const auto rows = field<int64_t>();
    skip(2, 8); // two unused numbers
    const auto trained = field<uint8_t>();
    h.metric = field<int32_t>();
    require(dims > 0 && dims <= kMaxDims, "dimension out of range");
    // Every row takes at least one byte somewhere behind its header.
    require(rows >= 0 && uint64_t(rows) <= s_.left(), "number of vectors out of range");
    require(trained == 1, "the index is not trained");
    require(h.metric == faiss::METRIC_INNER_PRODUCT || h.metric == faiss::METRIC_L2,
            "metric not allowed");
    h.dims = uint64_t(dims);
    h.rows = uint64_t(rows);
    h.trained = true;
    return h;
}

void Walker::index() {
    const Tag t = field<Tag>();
    const Header h = header();
    switch (t) {
        case tag("IxFI"):
        case tag("IxF2"):
            require((t == tag("IxFI")) == (h.metric == faiss::METRIC_INNER_PRODUCT),
                    "metric and index type disagree");
            flat_codes(h, h.dims * sizeof(float));
            break;
        case tag("IwFl"):
            ivf(h, false);
            break;
        case tag("IwSq"):
            ivf(h, true);
            break;
        case tag("IHNf"):
        case tag("IHNs"):
            graph(h);
            storage(h);
            break;
        default:
            fail("index type not allowed");
    }
}

// The quantizer of lists and the storage of a graph: flat or SQ, same shape.
void Walker::storage(const Header& outer) {
    const Tag t = field<Tag>();
    const Header h = header();
    require(h.dims == outer.dims && h.rows == outer.rows && h.metric == outer.metric,
            "storage of another shape");
    switch (t) {
        case tag("IxFI"):
        case tag("IxF2"):
            flat_codes(h, h.dims * sizeof(float));
            break;
        case tag("IxSQ"):
            flat_codes(h, scalar_quantizer(h));
            break;
        default:
            fail("storage type not allowed");
    }
}

void Walker::flat_codes(const Header& h, uint64_t code_size) {
    // Float codes are written as a vector of floats, others of bytes; both
    // give the same bytes, the length differs.
    const bool floats = code_size == h.dims * sizeof(float);
    const uint64_t unit = floats ? sizeof(float) : 1;
    require(h.rows <= s_.left() / code_size, "index file cut short");
    vector_of(h.rows * code_size / unit, unit, "wrong number of codes");
}

uint64_t Walker::scalar_quantizer(const Header& h) {
    const auto type = field<int32_t>();
    const auto rangestat = field<int32_t>();
    field<float>(); // argument of the range statistics
    const auto dims = field<uint64_t>();
    const auto code_size = field<uint64_t>();
    const auto trained = vector(sizeof(float));
    require(rangestat >= 0 && rangestat <= faiss::ScalarQuantizer::RS_optim,
            "unknown range statistics");
    require(dims == h.dims, "quantizer of another dimension");
    require(type == faiss::ScalarQuantizer::QT_8bit, "quantizer type not allowed");
    require(code_size == dims && trained == 2 * dims, "wrong size of the quantizer");
    return code_size;
}

void Walker::graph(const Header& h) {
    const uint64_t probas = vector(sizeof(double));
    const uint64_t sizes = vector(sizeof(int32_t));
    require(probas >= 1 && probas <= 64 && sizes == probas + 1, "wrong number of graph levels");
    vector_of(h.rows, sizeof(int32_t), "wrong number of levels");
    vector_of(h.rows + 1, sizeof(uint64_t), "wrong number of offsets");
    vector(sizeof(int32_t)); // links
    skip(5, sizeof(int32_t)); // entry point, level, three beam widths
}

void Walker::ivf(const Header& h, bool sq) {
    const auto nlist = field<uint64_t>();
    field<uint64_t>(); // nprobe
    require(nlist >= 1 && nlist <= s_.left() / (h.dims * sizeof(float)), "too many lists");
    const Tag t = field<Tag>();
    const Header q = header();
    require(t == tag("IxFI") || t == tag("IxF2"), "coarse quantizer not flat");
    require(q.dims == h.dims && q.rows == nlist, "coarse quantizer of another shape");
    flat_codes(q, q.dims * sizeof(float));
    direct_map(h);
    uint64_t code_size = h.dims * sizeof(float);
    if (sq) {
        code_size = scalar_quantizer(h);
        require(field<uint64_t>() == code_size, "wrong code size");
        require(field<uint8_t>() <= 1, "not a truth value");
    }
    lists(h, nlist, code_size);
}

void Walker::direct_map(const Header& h) {
    const auto type = field<uint8_t>();
    const uint64_t entries = vector(sizeof(int64_t));
    require(type <= 1, "direct map type not allowed");
    require(entries == (type == 1 ? h.rows : 0), "wrong size of the direct map");
}

void Walker::lists(const Header& h, uint64_t nlist, uint64_t code_size) {
    require(field<Tag>() == tag("ilar"), "type of inverted lists not allowed");
    require(field<uint64_t>() == nlist, "wrong number of lists");
    require(field<uint64_t>() == code_size, "wrong code size");
    const Tag form = field<Tag>();
    require(form == tag("full") || form == tag("sprs"), "unknown form of list sizes");
    const uint64_t numbers = field<uint64_t>();
    require(numbers <= s_.left() / sizeof(uint64_t), "index file cut short");
    require(form == tag("full") ? numbers == nlist : numbers % 2 == 0 && numbers / 2 <= nlist,
            "wrong number of list sizes");
    uint64_t rows = 0, next = 0;
    for (uint64_t i = 0; i < numbers; i++) {
        if (form == tag("sprs")) {
            const auto list = field<uint64_t>();
            require(list >= next && list < nlist, "list numbers out of order");
            next = list + 1;
            i++;
        }
        const auto size = field<uint64_t>();
        require(size <= h.rows - rows, "more entries than vectors");
        rows += size;
    }
    require(rows == h.rows, "fewer entries than vectors");
    skip(rows, code_size + sizeof(int64_t)); // of every list codes, then ids
}

} // namespace

void check_format(Source& source) {
    Walker(source).file();
}

} // namespace vs
