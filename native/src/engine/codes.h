// Eight-bit codes of the vectors, for walking a graph on a quarter of the
// memory. Component j is stored as c with x[j] ~ low[j] + width[j]*(c+0.5)/255,
// the encoding of FAISS's QT_8bit, ranges being the least and greatest values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace vs {

// A query prepared for codes: score = bias + scale * sum(w[j] * code[j]).
// The weights are rounded to 8 bits too, so scores are good for choosing
// candidates, which are then scored exactly.
struct CodeQuery {
    std::vector<int8_t> w;
    float scale = 0;
    float bias = 0;
};

class Codes {
public:
    // Encodes n rows of d floats.
    Codes(const float* rows, size_t n, size_t d);

    const uint8_t* row(size_t i) const {
        return data_.get() + i * d_;
    }
    size_t bytes() const {
        return n_ * d_ + 2 * d_ * sizeof(float);
    }
    void prepare(const float* query, CodeQuery& out) const;

private:
    struct Free {
        void operator()(uint8_t* p) const;
    };

    size_t n_;
    size_t d_;
    std::vector<float> low_, width_;
    std::unique_ptr<uint8_t[], Free> data_; // starts at a cache line
};

} // namespace vs
