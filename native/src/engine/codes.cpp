#include "codes.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>

namespace vs {

void Codes::Free::operator()(uint8_t* p) const {
    std::free(p);
}

Codes::Codes(const float* rows, size_t n, size_t d)
    : n_(n), d_(d), low_(rows, rows + (n ? d : 0)), width_(low_) {
    const size_t size = (n * d + 63) / 64 * 64;
    data_.reset(static_cast<uint8_t*>(std::aligned_alloc(64, std::max<size_t>(size, 64))));
    if (!data_) {
        throw std::bad_alloc();
    }
    for (size_t i = 1; i < n; i++) {
        for (size_t j = 0; j < d; j++) {
            low_[j] = std::min(low_[j], rows[i * d + j]);
            width_[j] = std::max(width_[j], rows[i * d + j]);
        }
    }
    std::vector<float> per_unit(d);
    for (size_t j = 0; j < low_.size(); j++) {
        width_[j] -= low_[j];
        per_unit[j] = width_[j] > 0 ? 255 / width_[j] : 0;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < d; j++) {
            const float c = (rows[i * d + j] - low_[j]) * per_unit[j];
            data_[i * d + j] = uint8_t(std::min(255.0f, std::max(0.0f, c)));
        }
    }
}

void Codes::prepare(const float* query, CodeQuery& out) const {
    float most = 0, bias = 0;
    for (size_t j = 0; j < d_; j++) {
        most = std::max(most, std::fabs(query[j] * width_[j]));
        bias += query[j] * (low_[j] + 0.5f / 255 * width_[j]);
    }
    out.w.assign((d_ + 63) / 64 * 64, 0);
    const float per_unit = most > 0 ? 127 / most : 0;
    for (size_t j = 0; j < d_; j++) {
        out.w[j] = int8_t(std::lrintf(query[j] * width_[j] * per_unit));
    }
    out.scale = most / 127 / 255;
    out.bias = bias;
}

} // namespace vs
