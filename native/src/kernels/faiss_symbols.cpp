// All fourteen functions that other objects of libfaiss take from its
// distances_simd.o, on our kernels. Because every one of them is here, the
// linker never needs that archive member, and FAISS itself computes with
// these. (Debian builds it for plain SSE2, scalar inner loops.)
#include "kernels.h"

#include <faiss/utils/distances.h>
#include <faiss/utils/utils.h>

namespace faiss {

float fvec_inner_product(const float* x, const float* y, size_t d) {
    return vs::active->inner_product(x, y, d);
}

float fvec_L2sqr(const float* x, const float* y, size_t d) {
    return vs::active->l2sqr(x, y, d);
}

float fvec_norm_L2sqr(const float* x, size_t d) {
    return vs::active->norm_l2sqr(x, d);
}

float fvec_L1(const float* x, const float* y, size_t d) {
    return vs::active->l1(x, y, d);
}

float fvec_Linf(const float* x, const float* y, size_t d) {
    return vs::active->linf(x, y, d);
}

void fvec_inner_products_ny(float* ip, const float* x, const float* y, size_t d, size_t ny) {
    vs::active->ip_rows(x, y, ny, d, ip);
}

void fvec_L2sqr_ny(float* dis, const float* x, const float* y, size_t d, size_t ny) {
    vs::active->l2_rows(x, y, ny, d, dis);
}

size_t fvec_L2sqr_ny_nearest(
        float* tmp, const float* x, const float* y, size_t d, size_t ny) {
    vs::active->l2_rows(x, y, ny, d, tmp);
    size_t best = 0;
    for (size_t i = 1; i < ny; i++) {
        if (tmp[i] < tmp[best]) {
            best = i;
        }
    }
    return best;
}

// y holds component j of vector i at y[j * d_offset + i].
size_t fvec_L2sqr_ny_nearest_y_transposed(
        float* tmp, const float* x, const float* y, const float* y_sqlen, size_t d,
        size_t d_offset, size_t ny) {
    const float x_sqlen = vs::active->norm_l2sqr(x, d);
    vs::active->add_scalar(ny, y_sqlen, x_sqlen, tmp);
    for (size_t j = 0; j < d; j++) {
        vs::active->madd(ny, tmp, -2 * x[j], y + j * d_offset, tmp);
    }
    size_t best = 0;
    for (size_t i = 1; i < ny; i++) {
        if (tmp[i] < tmp[best]) {
            best = i;
        }
    }
    return best;
}

void fvec_madd(size_t n, const float* a, float bf, const float* b, float* c) {
    vs::active->madd(n, a, bf, b, c);
}

int fvec_madd_and_argmin(size_t n, const float* a, float bf, const float* b, float* c) {
    return vs::active->madd_argmin(n, a, bf, b, c);
}

void fvec_add(size_t d, const float* a, const float* b, float* c) {
    vs::active->add(d, a, b, c);
}

void fvec_add(size_t d, const float* a, float b, float* c) {
    vs::active->add_scalar(d, a, b, c);
}

void fvec_sub(size_t d, const float* a, const float* b, float* c) {
    vs::active->sub(d, a, b, c);
}

} // namespace faiss
