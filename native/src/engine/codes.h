// Eight-bit codes of vectors, in the encoding of FAISS's QT_8bit: component j
// is stored as c with x[j] ~ low[j] + width[j] * (c + 0.5) / 255.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace vs {

// A query prepared for codes: score = bias + scale * sum(w[j] * code[j]). The
// weights are rounded to 8 bits too, so these scores are good for choosing
// candidates, which are then scored by what is stored.
struct CodeQuery {
    std::vector<int8_t> w; // padded with zeros to a multiple of 64
    float scale = 0;
    float bias = 0;
};

// A query prepared to be compared with codes: <query, vector> differs from
// bias + scale * sum(w[j] * code[j]) by slack at most, whatever the vector.
struct BoundedQuery {
    std::vector<int8_t> w; // padded likewise
    double scale = 0;
    double bias = 0;
    double slack = 0;
};

// A query prepared to be scored by stored vectors: itself for floats, and
// score = bias + sum(w[j] * code[j]) for codes.
struct ExactQuery {
    const float* q = nullptr;
    std::vector<float> w;
    float bias = 0;
};

class CodeRange {
public:
    CodeRange() = default;
    CodeRange(std::vector<float> low, std::vector<float> width)
        : low_(std::move(low)), width_(std::move(width)) {}

    // The least and greatest components of n rows.
    static CodeRange of(const float* rows, size_t n, size_t d, int threads);

    void encode(const float* row, uint8_t* code) const;
    void decode(const uint8_t* code, float* row) const;
    void prepare(const float* query, CodeQuery& out) const;
    void prepare(const float* query, ExactQuery& out) const;

    // The weights of a query, rounded, and their scale.
    float weigh(const float* query, std::vector<int8_t>& w) const;

    const std::vector<float>& low() const {
        return low_;
    }
    const std::vector<float>& width() const {
        return width_;
    }

private:
    float bias(const float* query) const;

    std::vector<float> low_, width_;
};

// Codes made of float vectors, to walk a graph on a quarter of the memory.
class Codes {
public:
    // Encodes n rows of d floats.
    Codes(const float* rows, size_t n, size_t d, int threads);

    const CodeRange& range() const {
        return range_;
    }
    const uint8_t* row(size_t i) const {
        return data_.get() + i * d_;
    }
    size_t bytes() const {
        return n_ * d_;
    }
    void prepare(const float* query, BoundedQuery& out) const;

private:
    struct Free {
        void operator()(uint8_t* p) const;
    };

    size_t n_;
    size_t d_;
    CodeRange range_;
    // The most that any vector has of: its length, its distance from what its
    // code stands for, the length of its code measured from the middle, 127.5.
    double length_ = 0, error_ = 0, reach_ = 0;
    std::unique_ptr<uint8_t[], Free> data_; // starts at a cache line
};

} // namespace vs
