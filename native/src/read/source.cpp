#include "source.h"

#include "../error.h"
#include "../rest.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

namespace vs {
namespace {

constexpr size_t kPiece = 1 << 20; // bytes read between rests

} // namespace

size_t MemorySource::operator()(void* out, size_t size, size_t items) {
    const size_t n = size ? std::min(items, left() / size) : 0;
    if (n > 0) {
        std::memcpy(out, data_ + at_, n * size);
    }
    at_ += n * size;
    return n;
}

FileSource::FileSource(const char* path) : file_(std::fopen(path, "rb")) {
    require(file_ != nullptr, "cannot open the index file");
    struct stat st;
    if (fstat(::fileno(file_), &st) != 0 || !S_ISREG(st.st_mode)) {
        std::fclose(file_);
        fail("not a regular file");
    }
    size_ = size_t(st.st_size);
}

FileSource::~FileSource() {
    std::fclose(file_);
}

size_t FileSource::operator()(void* out, size_t size, size_t items) {
    const size_t wanted = size ? std::min(items, left() / size) : 0;
    const size_t piece = size ? std::max<size_t>(1, kPiece / size) : 1;
    size_t n = 0;
    while (n < wanted) {
        const size_t some = std::min(piece, wanted - n);
        const size_t got = std::fread(static_cast<char*>(out) + n * size, size, some, file_);
        n += got;
        if (got < some) {
            break;
        }
        rest();
    }
    at_ += n * size;
    return n;
}

void FileSource::rewind() {
    std::rewind(file_);
    at_ = 0;
}

void FileSource::skip(size_t n) {
    require(fseeko(file_, off_t(n), SEEK_CUR) == 0, "cannot seek in the index file");
    at_ += n;
}

} // namespace vs
