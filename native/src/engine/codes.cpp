#include "codes.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>

namespace vs {

CodeRange CodeRange::of(const float* rows, size_t n, size_t d) {
    std::vector<float> low(d), high(d);
    if (n > 0) {
        low.assign(rows, rows + d);
        high = low;
    }
    for (size_t i = 1; i < n; i++) {
        for (size_t j = 0; j < d; j++) {
            low[j] = std::min(low[j], rows[i * d + j]);
            high[j] = std::max(high[j], rows[i * d + j]);
        }
    }
    for (size_t j = 0; j < d; j++) {
        high[j] -= low[j];
    }
    return CodeRange(std::move(low), std::move(high));
}

void CodeRange::encode(const float* row, uint8_t* code) const {
    for (size_t j = 0; j < low_.size(); j++) {
        const float at = width_[j] > 0 ? (row[j] - low_[j]) / width_[j] : 0;
        code[j] = uint8_t(255 * std::min(1.0f, std::max(0.0f, at)));
    }
}

void CodeRange::decode(const uint8_t* code, float* row) const {
    for (size_t j = 0; j < low_.size(); j++) {
        row[j] = low_[j] + width_[j] * (float(code[j]) + 0.5f) / 255;
    }
}

float CodeRange::bias(const float* query) const {
    float sum = 0;
    for (size_t j = 0; j < low_.size(); j++) {
        sum += query[j] * (low_[j] + 0.5f / 255 * width_[j]);
    }
    return sum;
}

void CodeRange::prepare(const float* query, CodeQuery& out) const {
    const size_t d = low_.size();
    float most = 0;
    for (size_t j = 0; j < d; j++) {
        most = std::max(most, std::fabs(query[j] * width_[j]));
    }
    out.w.assign((d + 63) / 64 * 64, 0);
    const float per_unit = most > 0 ? 127 / most : 0;
    for (size_t j = 0; j < d; j++) {
        out.w[j] = int8_t(std::lrintf(query[j] * width_[j] * per_unit));
    }
    out.scale = most / 127 / 255;
    out.bias = bias(query);
}

void CodeRange::prepare(const float* query, ExactQuery& out) const {
    out.q = query;
    out.w.resize(low_.size());
    for (size_t j = 0; j < low_.size(); j++) {
        out.w[j] = query[j] * width_[j] / 255;
    }
    out.bias = bias(query);
}

void Codes::Free::operator()(uint8_t* p) const {
    std::free(p);
}

Codes::Codes(const float* rows, size_t n, size_t d)
    : n_(n), d_(d), range_(CodeRange::of(rows, n, d)) {
    const size_t size = (n * d + 63) / 64 * 64;
    data_.reset(static_cast<uint8_t*>(std::aligned_alloc(64, std::max<size_t>(size, 64))));
    if (!data_) {
        throw std::bad_alloc();
    }
    for (size_t i = 0; i < n; i++) {
        range_.encode(rows + i * d, data_.get() + i * d);
    }
}

} // namespace vs
