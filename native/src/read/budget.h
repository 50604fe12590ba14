// A bound on what one thread may allocate while FAISS reads a file: the second
// line of defence behind check_format.
#pragma once

#include <cstddef>

namespace vs {

class AllocationBudget {
public:
    explicit AllocationBudget(size_t bytes) noexcept;
    ~AllocationBudget();
    AllocationBudget(const AllocationBudget&) = delete;
    AllocationBudget& operator=(const AllocationBudget&) = delete;
};

} // namespace vs
