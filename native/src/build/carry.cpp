// Carrying the links of an earlier graph over to a new one.
#include "graph_builder.h"
#include "scratch.h"

#include "../error.h"

#include <omp.h>

#include <algorithm>

namespace vs {

GraphBuilder::GraphBuilder(
        faiss::IndexHNSW& index, int threads, const faiss::HNSW& old, const int64_t* from)
    : index_(index),
      storage_(flat_storage(index)),
      graph_(index.hnsw),
      codes_(storage_.get_xb(), size_t(storage_.ntotal), size_t(storage_.d), threads),
      locks_(size_t(storage_.ntotal)) {
    const size_t n = locks_.size();
    require(old.cum_nneighbor_per_level == graph_.cum_nneighbor_per_level,
            "graphs of different link counts");
    find_copies(threads);
    const std::vector<int64_t> origin = carried(old, from);
    std::vector<bool> linked(n);
    Id top = -1; // of what is carried, the one on the highest level
    for (size_t i = 0; i < n; i++) {
        linked[i] = origin[i] >= 0;
        graph_.levels.push_back(linked[i] ? old.levels[size_t(origin[i])] : 0);
        if (linked[i] && (top < 0 || graph_.levels[i] > graph_.levels[size_t(top)])) {
            top = Id(i);
        }
    }
    require(top >= 0, "nothing to carry over");
    for (size_t i = 0; i < n; i++) {
        if (!linked[i]) {
            // No higher than the entry point, which stays the highest.
            const int level = first_[i] == Id(i) ? graph_.random_level() + 1 : 1;
            graph_.levels[i] = std::min(level, graph_.levels[size_t(top)]);
        }
    }
    graph_.prepare_level_tab(n, true);
    graph_.entry_point = top;
    graph_.max_level = graph_.levels[size_t(top)] - 1;
    set_order(linked);
    make_scratch(threads);
    carry_links(old, origin.data());
}

// Where the links of each vector that is linked come from: from itself, or from
// an equal one. The old graph linked only the first of equal vectors, too, unless
// it is of an earlier release.
std::vector<int64_t> GraphBuilder::carried(const faiss::HNSW& old, const int64_t* from) const {
    std::vector<int64_t> origin(locks_.size(), -1);
    for (size_t i = 0; i < origin.size(); i++) {
        require(from[i] < int64_t(old.levels.size()), "position out of range");
        int64_t& linked = origin[size_t(first_[i])];
        if (from[i] >= 0 && linked < 0) {
            const Id first = marked_copy(old, Id(from[i]));
            linked = first >= 0 ? first : from[i];
        }
    }
    return origin;
}

void GraphBuilder::carry_links(const faiss::HNSW& old, const int64_t* from) {
    const int64_t n = int64_t(locks_.size());
    std::vector<Id> now(old.levels.size(), -1); // new position of an old vector
    for (int64_t i = 0; i < n; i++) {
        if (from[i] >= 0) {
            require(now[size_t(from[i])] < 0, "two vectors from one position");
            now[size_t(from[i])] = Id(i);
        }
    }
    std::exception_ptr failed;
#pragma omp parallel for schedule(dynamic, 256) num_threads(int(scratch_.size()))
    for (int64_t i = 0; i < n; i++) {
        if (from[i] < 0) {
            continue;
        }
        try {
            carry_links_of(*scratch_[size_t(omp_get_thread_num())], old, now, Id(i), Id(from[i]));
        } catch (...) {
#pragma omp critical(vs_graph_failed)
            failed = std::current_exception();
        }
    }
    if (failed) {
        std::rethrow_exception(failed);
    }
}

// Writes only the links of id and reads only the old graph: no locks.
void GraphBuilder::carry_links_of(
        Scratch& s, const faiss::HNSW& old, const std::vector<Id>& now, Id id, Id before) {
    for (int level = 0; level < graph_.levels[size_t(id)]; level++) {
        size_t begin, end, to, to_end;
        old.neighbor_range(before, level, &begin, &end);
        graph_.neighbor_range(id, level, &to, &to_end);
        s.chosen.clear();     // links that stay
        s.candidates.clear(); // for the others, what lay behind them
        size_t lost = 0;
        for (size_t i = begin; i < end && old.neighbors[i] >= 0; i++) {
            const Id neighbour = now[size_t(old.neighbors[i])];
            if (neighbour >= 0) {
                s.chosen.push_back(Hit{0, neighbour});
                continue;
            }
            lost++;
            size_t b, e;
            old.neighbor_range(old.neighbors[i], level, &b, &e);
            for (size_t j = b; j < e && old.neighbors[j] >= 0; j++) {
                const Id beyond = now[size_t(old.neighbors[j])];
                if (beyond >= 0 && beyond != id) {
                    s.candidates.push_back(Hit{0, beyond});
                }
            }
        }
        if (lost > 0) {
            replace_lost(s, id, s.chosen.size() + lost);
        }
        for (const Hit& h : s.chosen) {
            graph_.neighbors[to++] = Id(h.position);
        }
    }
}

// Fills s.chosen up to `most` links: with the nearest candidates that are not
// nearer to a link than to id, then with the nearest of the others. Links that
// stay are not questioned; a graph that grew by insertion has more of them than
// the choice alone would leave, and loses recall without them.
void GraphBuilder::replace_lost(Scratch& s, Id id, size_t most) {
    const auto by_position = [](const Hit& a, const Hit& b) { return a.position < b.position; };
    const auto same = [](const Hit& a, const Hit& b) { return a.position == b.position; };
    std::sort(s.candidates.begin(), s.candidates.end(), by_position);
    s.candidates.erase(
            std::unique(s.candidates.begin(), s.candidates.end(), same), s.candidates.end());
    const auto linked = [&](const Hit& h) {
        return std::any_of(s.chosen.begin(), s.chosen.end(), [&](const Hit& c) { return same(c, h); });
    };
    s.candidates.erase(std::remove_if(s.candidates.begin(), s.candidates.end(), linked),
                       s.candidates.end());
    rescore(row(id), size_t(storage_.d), s.candidates, s.rows, s.similar, row(0));
    s.rows.clear();
    for (const Hit& h : s.chosen) {
        s.rows.push_back(row(h.position));
    }
    for (const Hit& c : s.candidates) {
        if (s.chosen.size() == most) {
            return;
        }
        if (apart(s, c)) {
            s.chosen.push_back(c);
            s.rows.push_back(row(c.position));
        }
    }
    for (const Hit& c : s.candidates) {
        if (s.chosen.size() == most) {
            return;
        }
        if (!linked(c)) {
            s.chosen.push_back(c);
        }
    }
}

} // namespace vs
