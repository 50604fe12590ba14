// The bytes of an index file, from a file or from memory.
#pragma once

#include <faiss/impl/io.h>

#include <cstddef>
#include <cstdio>
#include <string>

namespace vs {

class Source : public faiss::IOReader {
public:
    virtual ~Source() = default;

    // Bytes behind the current position.
    virtual size_t left() const = 0;
    virtual void rewind() = 0;
    virtual void skip(size_t n) = 0; // n <= left()
};

class MemorySource final : public Source {
public:
    MemorySource(const unsigned char* data, size_t size) : data_(data), size_(size) {}

    size_t operator()(void* out, size_t size, size_t items) override;
    size_t left() const override {
        return size_ - at_;
    }
    void rewind() override {
        at_ = 0;
    }
    void skip(size_t n) override {
        at_ += n;
    }

private:
    const unsigned char* data_;
    size_t size_;
    size_t at_ = 0;
};

// One open descriptor from the first look to the last byte, so that what was
// checked is what is loaded.
class FileSource final : public Source {
public:
    explicit FileSource(const char* path);
    ~FileSource() override;
    FileSource(const FileSource&) = delete;
    FileSource& operator=(const FileSource&) = delete;

    size_t operator()(void* out, size_t size, size_t items) override;
    size_t left() const override {
        return size_ - at_;
    }
    void rewind() override;
    void skip(size_t n) override;

private:
    std::FILE* file_;
    size_t size_ = 0;
    size_t at_ = 0;
};

} // namespace vs
