/* What the native library offers beyond the C API of FAISS. */
#ifndef VECTORSTORE_NATIVE_H
#define VECTORSTORE_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The index published under token by the parameter "vectorstore_handle", once;
 * NULL when there is none. The index stays owned by its go-faiss object. */
void* vs_take_handle(uint64_t token);

/* The kernel set in use: "avx512", "avx2" or "baseline". */
const char* vs_simd(void);

/* Whether this CPU can run the named kernel set. */
int vs_simd_supported(const char* name);

/* Version of the FAISS library, e.g. "1.7.3". */
const char* vs_faiss_version(void);

/* Gives freed heap back to the system. */
void vs_release_memory(void);

/* Called during a long work of a thread at the lowest priority (nice 19) in a process
 * of a higher one: sleeps, so that the thread works a third of the time. Reading an
 * index and making its codes do the same there. Elsewhere it returns at once. */
void vs_pause(void);

/* What an index is: "flat", "ivf", "hnsw", "ivf-sq8", "hnsw-sq8", or "other"; and its number of lists, or of links per vector (0 for flat). */
const char* vs_kind(const void* index);
int64_t vs_structure(const void* index);

/* Grows the storage of an index once, to n vectors in all. */
int vs_reserve(void* index, int64_t n);

/* Drops the growth slack of the storage after the last add. */
int vs_shrink(void* index);

/* Appends rows to the storage of an HNSW index over flat storage, without
 * linking them. */
int vs_append(void* index, int64_t n, const float* rows);

/* Links all vectors of such an index, in steps: make a builder when the last row
 * is appended, insert consecutive ranges from 0 to its size, free it. Insertion
 * uses all cores. The index cannot be searched in between. */
typedef struct vs_graph vs_graph;

int vs_graph_new(void* index, vs_graph** out);

/* The same, but keeps the links among vectors that the HNSW index `old` has too:
 * from[i] is the position there of vector i, or -1 when it is to be inserted. */
int vs_graph_carry(void* index, void* old, const int64_t* from, vs_graph** out);

/* How many vectors are to be inserted. */
int64_t vs_graph_size(const vs_graph* g);

int vs_graph_insert(vs_graph* g, int64_t from, int64_t to);
void vs_graph_free(vs_graph* g);

/* Frees the vectors of an HNSW index. What is left serves vs_graph_carry only. */
int vs_drop_vectors(void* index);

/* Gives an untrained, empty IVF index the centroids of a trained one of the same
 * shape: a copy. */
int vs_take_lists(void* index, void* old);

/* The mean inner product of rows with the nearest centroid of a trained IVF
 * index. Uses all cores. */
int vs_lists_fit(void* index, int64_t n, const float* rows, double* mean);

/* Makes an untrained IVF SQ8 index encode vectors instead of residuals. */
int vs_plain_codes(void* index);

/* Sets the range that a trained, still empty IVF SQ8 index encodes: d least
 * components and d widths. Its own training saw only a sample. */
int vs_code_range(void* index, const float* low, const float* width);

/* Moves the graph of a finished HNSW index over floats to an empty one of the
 * same shape over SQ8, encoding the vectors. The first is of no further use. */
int vs_quantize_graph(void* floats, void* codes);

/* A view of a finished inner-product index (flat, HNSW or IVF over floats or SQ8
 * without residuals, with positions as ids) for searching. It borrows the index, which must outlive it
 * unchanged. Every call may run on any number of threads at once and computes
 * on the calling thread only. All functions return 0, or a FaissErrorCode with
 * the text in faiss_get_last_error(). Results are nq x k, best first; where
 * there are fewer, position -1 and score 0. */
typedef struct vs_searcher vs_searcher;

/* code_threads, if not 0: make 8-bit codes of the vectors, a byte per component, on
 * as many threads (negative: those of a build), and walk a graph or scan on them; results are those of the
 * vectors all the same. */
int vs_searcher_new(void* index, int code_threads, vs_searcher** out);
void vs_searcher_free(vs_searcher* s);

/* Heap of the searcher itself, in bytes. */
size_t vs_searcher_bytes(const vs_searcher* s);

/* Exhaustive search in parts, on any threads: a part learns from the others what
 * k vectors have reached already, and leaves out what is below. So k must be the
 * same for all parts, and only their best hits together are the answer. */
typedef struct vs_scan_state vs_scan_state;
int vs_scan_begin(const vs_searcher* s, int64_t nq, const float* queries, vs_scan_state** out);
void vs_scan_end(vs_scan_state* state);

/* One part: the positions [begin, end). The queries are those of the beginning. */
int vs_scan(
        vs_scan_state* state,
        int64_t nq,
        const float* queries,
        int64_t k,
        int64_t begin,
        int64_t end,
        float* scores,
        int64_t* positions);

/* What its parts have done by means of codes, in vectors times queries. */
typedef struct vs_scan_work {
    int64_t coded;  /* looked at by code */
    int64_t chosen; /* of these kept, for some time at least */
    int64_t single; /* of these scored by their floats, wherever they lie */
    int64_t plain;  /* scored by their floats in order, without a look at codes or in spite of it */
} vs_scan_work;
vs_scan_work vs_scan_done(const vs_scan_state* state);

/* Exhaustive search of the given positions. */
int vs_scan_selected(
        const vs_searcher* s,
        int64_t nq,
        const float* queries,
        int64_t k,
        const uint32_t* selected,
        size_t n_selected,
        float* scores,
        int64_t* positions);

/* Approximate search: ef is the beam of a graph or the probes of inverted
 * lists. allow (NULL = all) has bit p%64 of allow[p/64] set for the allowed
 * positions, of which there are `allowed`. A graph search that needs more than
 * `budget` distances for one query (0 = no bound) stops and returns 1. */
int vs_search(
        const vs_searcher* s,
        int64_t nq,
        const float* queries,
        int64_t k,
        int64_t ef,
        const uint64_t* allow,
        size_t allow_words,
        int64_t allowed,
        int64_t budget,
        float* scores,
        int64_t* positions);

/* Copies the stored vector. */
int vs_vector(const vs_searcher* s, int64_t position, float* out);

#ifdef __cplusplus
}
#endif
#endif
