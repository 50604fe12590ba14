#include "handle.h"

#include "error.h"

#include <vectorstore/native.h>

#include <mutex>
#include <unordered_map>

namespace {

std::mutex mu;
std::unordered_map<uint64_t, faiss::Index*>& published() {
    static std::unordered_map<uint64_t, faiss::Index*> map;
    return map;
}

} // namespace

namespace vs {

void publish_handle(double token, faiss::Index* index) {
    require(token >= 1 && token < 9007199254740992.0, "handle token out of range");
    std::lock_guard<std::mutex> lock(mu);
    published()[uint64_t(token)] = index;
}

} // namespace vs

extern "C" void* vs_take_handle(uint64_t token) {
    std::lock_guard<std::mutex> lock(mu);
    auto it = published().find(token);
    if (it == published().end()) {
        return nullptr;
    }
    faiss::Index* index = it->second;
    published().erase(it);
    return index;
}
