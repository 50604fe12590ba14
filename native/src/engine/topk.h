// The k best of a stream of scores.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace vs {

struct Hit {
    float score;
    int64_t position;
};

// Higher scores first; equal scores by position, so that a scan split over
// threads or lists answers like one in order. NaN is never better.
inline bool better(const Hit& a, const Hit& b) {
    return a.score > b.score || (a.score == b.score && a.position < b.position);
}

// The order of heaps, as objects: the standard library calls functions.
struct Better {
    bool operator()(const Hit& a, const Hit& b) const {
        return better(a, b);
    }
};
struct Worse {
    bool operator()(const Hit& a, const Hit& b) const {
        return better(b, a);
    }
};

class TopK {
public:
    explicit TopK(size_t k) : k_(k) {
        heap_.reserve(k);
    }

    // Scores below this cannot enter any more.
    float threshold() const {
        return heap_.size() < k_ ? -std::numeric_limits<float>::infinity() : heap_[0].score;
    }

    void push(float score, int64_t position) {
        const Hit hit{score, position};
        if (heap_.size() < k_) {
            if (score == score) {
                heap_.push_back(hit);
                std::push_heap(heap_.begin(), heap_.end(), Better());
            }
        } else if (better(hit, heap_[0])) {
            replace_worst(hit);
        }
    }

    // Pushes scores[i] as position first+i, or ids[i] when ids is given.
    template <class Id>
    void push_run(const float* scores, size_t n, Id&& id) {
        float bound = threshold();
        for (size_t i = 0; i < n; i++) {
            if (scores[i] >= bound) {
                push(scores[i], id(i));
                bound = threshold();
            }
        }
    }

    // What was kept, in no order.
    const std::vector<Hit>& hits() const {
        return heap_;
    }
    void clear() {
        heap_.clear();
    }

    // Writes k hits, best first; what is missing gets position -1, score 0.
    void take(float* scores, int64_t* positions) {
        take_first(k_, scores, positions);
    }

    // The same for the n best of them.
    void take_first(size_t n, float* scores, int64_t* positions) {
        std::sort_heap(heap_.begin(), heap_.end(), Better());
        for (size_t i = 0; i < n; i++) {
            const bool have = i < heap_.size();
            scores[i] = have ? heap_[i].score : 0;
            positions[i] = have ? heap_[i].position : -1;
        }
        heap_.clear();
    }

private:
    void replace_worst(const Hit& hit) {
        size_t at = 0;
        const size_t n = heap_.size();
        for (size_t child = 1; child < n; child = 2 * at + 1) {
            if (child + 1 < n && better(heap_[child], heap_[child + 1])) {
                child++;
            }
            if (!better(hit, heap_[child])) {
                break;
            }
            heap_[at] = heap_[child];
            at = child;
        }
        heap_[at] = hit;
    }

    size_t k_;
    std::vector<Hit> heap_; // std heap ordered by better: the worst is on top
};

} // namespace vs
