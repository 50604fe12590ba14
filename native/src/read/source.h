// The bytes of an index file.
#pragma once

#include <faiss/impl/io.h>

#include <cstddef>
#include <cstdio>
#include <string>

namespace vs {

// One open descriptor from the first look to the last byte, so that what was
// checked is what is loaded.
class Source final : public faiss::IOReader {
public:
    explicit Source(const char* path);
    ~Source() override;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

    size_t operator()(void* out, size_t size, size_t items) override;
    // Bytes behind the current position.
    size_t left() const {
        return size_ - at_;
    }
    void rewind();
    void skip(size_t n); // n <= left()

private:
    std::FILE* file_;
    size_t size_ = 0;
    size_t at_ = 0;
};

} // namespace vs
