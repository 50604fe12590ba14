// Exceptions end at the C boundary: every entry point runs its body under
// guarded(), which turns them into the FaissErrorCode values of error_c.h.
#pragma once

#include <faiss/impl/FaissException.h>

#include <exception>
#include <new>
#include <stdexcept>

namespace vs {

// Keeps the text for faiss_get_last_error() on this thread.
void set_last_error(const char* what) noexcept;

template <class F>
int guarded(F&& body) noexcept {
    try {
        body();
        return 0;
    } catch (const faiss::FaissException& e) {
        set_last_error(e.what());
        return -2;
    } catch (const std::bad_alloc&) {
        set_last_error("out of memory");
        return -4;
    } catch (const std::exception& e) {
        set_last_error(e.what());
        return -4;
    } catch (...) {
        set_last_error("unknown exception");
        return -1;
    }
}

[[noreturn]] inline void fail(const char* what) {
    throw std::runtime_error(what);
}

inline void require(bool ok, const char* what) {
    if (!ok) {
        fail(what);
    }
}

} // namespace vs
