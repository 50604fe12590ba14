#include "copies.h"

#include "../pause.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vs {
namespace {

constexpr size_t kRows = 256; // between pauses

// Only speed depends on it: rows of one hash are compared.
uint64_t hash(const uint8_t* row, size_t bytes) {
    uint64_t h = bytes;
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        std::memcpy(&word, row + i, 8);
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
    }
    for (; i < bytes; i++) {
        h = (h ^ row[i]) * 0x9E3779B97F4A7C15u;
    }
    return h ^ h >> 29;
}

} // namespace

std::vector<Position> first_of_equal(const uint8_t* rows, size_t n, size_t bytes, int threads) {
    std::vector<std::pair<uint64_t, Position>> order(n);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < n; i++) {
        if (i % kRows == 0) {
            pause();
        }
        order[i] = {hash(rows + i * bytes, bytes), Position(i)};
    }
    std::sort(order.begin(), order.end());
    std::vector<Position> first(n);
    for (size_t begin = 0, end = 0; begin < n; begin = end) {
        while (end < n && order[end].first == order[begin].first) {
            end++;
        }
        // Of one hash, by position; nearly always all equal or one alone.
        std::vector<Position> firsts;
        for (size_t i = begin; i < end; i++) {
            const Position p = order[i].second;
            const auto same = std::find_if(firsts.begin(), firsts.end(), [&](Position f) {
                return std::memcmp(rows + size_t(f) * bytes, rows + size_t(p) * bytes, bytes) == 0;
            });
            first[size_t(p)] = same == firsts.end() ? p : *same;
            if (same == firsts.end()) {
                firsts.push_back(p);
            }
        }
    }
    return first;
}

void mark_copy(faiss::HNSW& graph, Position copy, Position first) {
    size_t begin, end;
    graph.neighbor_range(copy, 0, &begin, &end);
    graph.neighbors[begin] = graph.neighbors[begin + 1] = first;
    std::fill(graph.neighbors.begin() + ptrdiff_t(begin) + 2, graph.neighbors.begin() + ptrdiff_t(end), -1);
}

Position marked_copy(const faiss::HNSW& graph, Position i) {
    size_t begin, end;
    graph.neighbor_range(i, 0, &begin, &end);
    if (end - begin < 2 || graph.neighbors[begin] != graph.neighbors[begin + 1]) {
        return -1;
    }
    const Position first = graph.neighbors[begin];
    return first < i ? first : -1;
}

std::vector<Position> chains(const faiss::HNSW& graph, const uint8_t* rows, size_t bytes) {
    std::vector<Position> next;
    // From the end: each copy goes between its first and what followed the first.
    for (size_t i = graph.levels.size(); i-- > 0;) {
        const Position first = marked_copy(graph, Position(i));
        if (first < 0 || marked_copy(graph, first) >= 0 ||
            std::memcmp(rows + size_t(first) * bytes, rows + i * bytes, bytes) != 0) {
            continue;
        }
        if (next.empty()) {
            next.assign(graph.levels.size(), -1);
        }
        next[i] = next[size_t(first)];
        next[size_t(first)] = Position(i);
    }
    return next;
}

} // namespace vs
