// Replaces the global operator new of the program. Without a budget it is the
// usual one: malloc, then std::bad_alloc.
#include "budget.h"

#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

thread_local bool limited = false;
thread_local size_t left = 0;

void* allocate(size_t n) {
    if (limited) {
        if (n > left) {
            throw std::bad_alloc();
        }
        left -= n;
    }
    if (void* p = std::malloc(n ? n : 1)) {
        return p;
    }
    throw std::bad_alloc();
}

} // namespace

namespace vs {

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
