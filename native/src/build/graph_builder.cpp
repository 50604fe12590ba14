#include "graph_builder.h"
#include "scratch.h"

#include "../error.h"
#include "../kernels/kernels.h"

#include <omp.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace vs {
namespace {

// Held for a few hundred nanoseconds: the links of one vector.
class SpinLock {
public:
    explicit SpinLock(std::atomic<uint8_t>& flag) : flag_(flag) {
        while (flag_.exchange(1, std::memory_order_acquire)) {
            while (flag_.load(std::memory_order_relaxed)) {
                __builtin_ia32_pause();
            }
        }
    }
    ~SpinLock() {
        flag_.store(0, std::memory_order_release);
    }
    SpinLock(const SpinLock&) = delete;
    SpinLock& operator=(const SpinLock&) = delete;

private:
    std::atomic<uint8_t>& flag_;
};

} // namespace

GraphBuilder::GraphBuilder(faiss::IndexHNSW& index, int threads)
    : index_(index),
      storage_(flat_storage(index)),
      graph_(index.hnsw),
      codes_(storage_.get_xb(), size_t(storage_.ntotal), size_t(storage_.d), threads),
      locks_(size_t(storage_.ntotal)) {
    require(!locks_.empty(), "no vectors");
    graph_.prepare_level_tab(locks_.size());
    find_copies(threads);
    set_order(std::vector<bool>(locks_.size()));
    graph_.entry_point = order_[0];
    graph_.max_level = graph_.levels[order_[0]] - 1;
    order_.erase(order_.begin()); // the first has nothing to be linked to
    make_scratch(threads);
}

void GraphBuilder::find_copies(int threads) {
    const auto* rows = reinterpret_cast<const uint8_t*>(storage_.get_xb());
    first_ = first_of_equal(rows, locks_.size(), size_t(storage_.d) * sizeof(float), threads);
}

// Everything not yet linked, upper levels first; copies are marked.
void GraphBuilder::set_order(const std::vector<bool>& linked) {
    for (size_t i = 0; i < linked.size(); i++) {
        if (first_[i] != Id(i)) {
            mark_copy(graph_, Id(i), first_[i]);
        } else if (!linked[i]) {
            order_.push_back(Id(i));
        }
    }
    std::shuffle(order_.begin(), order_.end(), std::mt19937_64(linked.size()));
    std::stable_sort(order_.begin(), order_.end(),
                     [&](Id a, Id b) { return graph_.levels[a] > graph_.levels[b]; });
    index_.ntotal = storage_.ntotal;
}

void GraphBuilder::make_scratch(int threads) {
    const size_t links = size_t(graph_.nb_neighbors(0)) + 1;
    for (int t = 0; t < threads; t++) {
        scratch_.push_back(std::make_unique<Scratch>(
                locks_.size(), links, size_t(std::max(1, graph_.efConstruction))));
    }
}

GraphBuilder::~GraphBuilder() = default;

void GraphBuilder::insert(int64_t from, int64_t to) {
    require(from >= 0 && from <= to && to <= int64_t(order_.size()), "range out of bounds");
    // An exception must not leave the parallel region.
    std::exception_ptr failed;
#pragma omp parallel for schedule(dynamic, 16) num_threads(int(scratch_.size()))
    for (int64_t i = from; i < to; i++) {
        try {
            insert_one(*scratch_[size_t(omp_get_thread_num())], order_[size_t(i)]);
        } catch (...) {
#pragma omp critical(vs_graph_failed)
            failed = std::current_exception();
        }
    }
    if (failed) {
        std::rethrow_exception(failed);
    }
}

void GraphBuilder::insert_one(Scratch& s, Id id) {
    codes_.range().prepare(row(id), s.query);
    const int level = graph_.levels[id] - 1;
    Hit entry = descend(s, graph_.max_level, level);
    for (int l = std::min(level, graph_.max_level); l >= 0; l--) {
        collect(s, id, entry, l);
        entry = s.candidates[0]; // at least the entry itself was found
        link(s, id, l); // overwrites the candidates
    }
}

// The links of a vector on a level, into s.ids and s.codes.
size_t GraphBuilder::copy_links(Scratch& s, Id of, int level) {
    size_t begin, end, n = 0;
    graph_.neighbor_range(of, level, &begin, &end);
    SpinLock lock(locks_[size_t(of)]);
    for (size_t i = begin; i < end && graph_.neighbors[i] >= 0; i++) {
        s.ids[n++] = graph_.neighbors[i];
    }
    return n;
}

void GraphBuilder::prefetch_links(Id of, int level) const {
    size_t begin, end;
    graph_.neighbor_range(of, level, &begin, &end);
    __builtin_prefetch(&locks_[size_t(of)], 1);
    for (size_t i = begin; i < end; i += 64 / sizeof(Id)) {
        __builtin_prefetch(&graph_.neighbors[i]);
    }
}

void GraphBuilder::score_codes(Scratch& s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        s.codes[i] = codes_.row(size_t(s.ids[i]));
        __builtin_prefetch(s.codes[i]);
    }
    kernels().u8_gather(s.query.w.data(), s.codes.data(), n, size_t(storage_.d), s.sums.data());
    for (size_t i = 0; i < n; i++) {
        s.scores[i] = s.query.bias + s.query.scale * float(s.sums[i]);
    }
}

Hit GraphBuilder::descend(Scratch& s, int from_level, int to_level) {
    s.ids[0] = graph_.entry_point;
    score_codes(s, 1);
    Hit at{s.scores[0], graph_.entry_point};
    for (int l = from_level; l > to_level; l--) {
        for (bool moved = true; moved;) {
            moved = false;
            const size_t n = copy_links(s, Id(at.position), l);
            score_codes(s, n);
            for (size_t i = 0; i < n; i++) {
                if (s.scores[i] > at.score) {
                    at = Hit{s.scores[i], s.ids[i]};
                    moved = true;
                }
            }
        }
    }
    return at;
}

// The vectors of the level nearest to id, best first, with scores of
// the stored vectors, into s.candidates.
void GraphBuilder::collect(Scratch& s, Id id, Hit entry, int level) {
    s.visited.next_search();
    s.visited.visit(size_t(entry.position));
    s.visited.visit(size_t(id)); // others may link to it already
    s.frontier.assign(1, entry);
    s.found.clear();
    s.found.push(entry.score, entry.position);
    while (!s.frontier.empty() && s.frontier.front().score >= s.found.threshold()) {
        const Hit next = s.frontier.front();
        std::pop_heap(s.frontier.begin(), s.frontier.end(), Worse());
        s.frontier.pop_back();
        const size_t all = copy_links(s, Id(next.position), level);
        size_t n = 0;
        for (size_t i = 0; i < all; i++) {
            s.visited.prefetch(size_t(s.ids[i]));
        }
        for (size_t i = 0; i < all; i++) { // without a branch, as in search_graph
            s.ids[n] = s.ids[i];
            n += s.visited.visit(size_t(s.ids[i]));
        }
        if (!s.frontier.empty()) {
            prefetch_links(Id(s.frontier.front().position), level);
        }
        score_codes(s, n);
        for (size_t i = 0; i < n; i++) {
            if (s.scores[i] > s.found.threshold()) {
                __builtin_prefetch(&graph_.offsets[size_t(s.ids[i])]);
                s.frontier.push_back(Hit{s.scores[i], s.ids[i]});
                std::push_heap(s.frontier.begin(), s.frontier.end(), Worse());
                s.found.push(s.scores[i], s.ids[i]);
            }
        }
    }
    s.candidates = s.found.hits();
    rescore(row(id), size_t(storage_.d), s.candidates, s.rows, s.similar, row(0));
}

// Whether no chosen link (rows in s.rows) is nearer to the candidate than the
// vector being linked is: links then lead in different directions.
bool GraphBuilder::apart(const Scratch& s, const Hit& candidate) const {
    const float* x = row(candidate.position);
    for (size_t at = 0; at < s.rows.size(); at += 4) {
        const size_t n = std::min<size_t>(4, s.rows.size() - at);
        float similar[4];
        kernels().ip_gather(x, s.rows.data() + at, n, size_t(storage_.d), similar);
        for (size_t i = 0; i < n; i++) {
            if (similar[i] > candidate.score) {
                return false;
            }
        }
    }
    return true;
}

// The best of s.candidates that are apart from each other, into s.chosen; all of
// them where there is room, as FAISS does: narrow beams give denser graphs.
void GraphBuilder::choose(Scratch& s, size_t most) {
    if (s.candidates.size() < most) {
        s.chosen = s.candidates;
        return;
    }
    s.chosen.clear();
    s.rows.clear();
    for (const Hit& c : s.candidates) {
        if (s.chosen.size() == most) {
            return;
        }
        if (apart(s, c)) {
            s.chosen.push_back(c);
            s.rows.push_back(row(c.position));
        }
    }
}

void GraphBuilder::link(Scratch& s, Id id, int level) {
    choose(s, size_t(graph_.nb_neighbors(level)));
    const std::vector<Hit> chosen = s.chosen; // add_link chooses again
    for (const Hit& h : chosen) {
        add_link(s, id, Id(h.position), level);
        add_link(s, Id(h.position), id, level);
    }
}

void GraphBuilder::add_link(Scratch& s, Id from, Id to, int level) {
    size_t begin, end;
    graph_.neighbor_range(from, level, &begin, &end);
    Id* links = graph_.neighbors.data();
    SpinLock lock(locks_[size_t(from)]);
    size_t used = begin;
    for (; used < end && links[used] >= 0; used++) {
        if (links[used] == to) {
            return;
        }
    }
    if (used < end) {
        links[used] = to;
        return;
    }
    s.candidates.assign(1, Hit{0, to});
    for (size_t i = begin; i < end; i++) {
        s.candidates.push_back(Hit{0, links[i]});
    }
    rescore(row(from), size_t(storage_.d), s.candidates, s.rows, s.similar, row(0));
    choose(s, end - begin);
    for (size_t i = begin; i < end; i++) {
        const size_t at = i - begin;
        links[i] = at < s.chosen.size() ? Id(s.chosen[at].position) : -1;
    }
}

} // namespace vs
