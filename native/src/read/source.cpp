#include "source.h"

#include "../error.h"
#include "../pause.h"

#include <sys/stat.h>

#include <algorithm>

namespace vs {
namespace {

constexpr size_t kPiece = 1 << 20; // bytes read between pauses

} // namespace

Source::Source(const char* path) : file_(std::fopen(path, "rb")) {
    require(file_ != nullptr, "cannot open the index file");
    struct stat st;
    if (fstat(::fileno(file_), &st) != 0 || !S_ISREG(st.st_mode)) {
        std::fclose(file_);
        fail("not a regular file");
    }
    size_ = size_t(st.st_size);
}

Source::~Source() {
    std::fclose(file_);
}

size_t Source::operator()(void* out, size_t size, size_t items) {
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
        pause();
    }
    at_ += n * size;
    return n;
}

void Source::rewind() {
    std::rewind(file_);
    at_ = 0;
}

void Source::skip(size_t n) {
    require(fseeko(file_, off_t(n), SEEK_CUR) == 0, "cannot seek in the index file");
    at_ += n;
}

} // namespace vs
