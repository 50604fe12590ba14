// Replaces the global operator new of the program.
#include "heap.h"

#include "pause.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

constexpr size_t kHugePage = 2 << 20;
constexpr size_t kLarge = 2 * kHugePage; // below, rounding to whole huge pages would show

thread_local bool limited = false;
thread_local size_t left = 0;

void* allocate(size_t n) {
    if (limited) {
        if (n > left) {
            throw std::bad_alloc();
        }
        left -= n;
    }
    if (n >= kLarge) {
        return vs::allocate_rows(n);
    }
    if (void* p = std::malloc(n ? n : 1)) {
        return p;
    }
    throw std::bad_alloc();
}

} // namespace

namespace vs {

void* allocate_rows(size_t bytes) {
    void* p = nullptr;
    if (posix_memalign(&p, bytes >= kLarge ? kHugePage : 64, std::max<size_t>(bytes, 1)) != 0) {
        throw std::bad_alloc();
    }
    if (bytes >= kLarge) {
        // Whole pages only, so that nothing is resident beyond the block. Where the
        // system has no huge pages this changes nothing.
        madvise(p, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
        if (makes_way()) {
            // Most of a load is the system's clearing of new pages. Here it can pause in
            // between; the first writer would touch them all at once.
            for (size_t at = 0; at < bytes; at += kHugePage) {
                static_cast<volatile char*>(p)[at] = 0;
                pause();
            }
        }
    }
    return p;
}

AllocationBudget::AllocationBudget(size_t bytes) noexcept {
    limited = true;
    left = bytes;
}

AllocationBudget::~AllocationBudget() {
    limited = false;
}

} // namespace vs

void* operator new(size_t n) {
    return allocate(n);
}

void* operator new[](size_t n) {
    return allocate(n);
}

void operator delete(void* p) noexcept {
    std::free(p);
}

void operator delete[](void* p) noexcept {
    std::free(p);
}

void operator delete(void* p, size_t) noexcept {
    std::free(p);
}

void operator delete[](void* p, size_t) noexcept {
    std::free(p);
}
