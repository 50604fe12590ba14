// The program's operator new: large blocks on huge pages, and a bound on what one
// thread may allocate while FAISS reads a file.
#pragma once

#include <cstddef>

namespace vs {

// Uninitialised memory that starts at a cache line, for std::free; throws
// std::bad_alloc. A search touches vectors at random: on pages of 4 KB most of
// what it waits for is not the vector but the tables that say where it lies.
void* allocate_rows(size_t bytes);

// The second line of defence behind check_format.
class AllocationBudget {
public:
    explicit AllocationBudget(size_t bytes) noexcept;
    ~AllocationBudget();
    AllocationBudget(const AllocationBudget&) = delete;
    AllocationBudget& operator=(const AllocationBudget&) = delete;
};

} // namespace vs
