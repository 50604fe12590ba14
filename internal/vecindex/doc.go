// Package vecindex builds, writes, opens and searches vector indexes. It is
// the only package that uses cgo.
//
// An index holds n unit vectors of d float32 components under the positions
// 0..n-1, the order in which they were added; scores are inner products, so
// the cosine. The kinds:
//
//   - flat: exhaustive, exact;
//   - ivf: k-means lists, of which a query probes the nearest (Jégou, Douze and
//     Schmid, "Product Quantization for Nearest Neighbor Search", 2011, without
//     the compression);
//   - hnsw: a navigable graph (Malkov and Yashunin, "Efficient and Robust
//     Approximate Nearest Neighbor Search Using HNSW Graphs", 2016);
//   - ivf-sq8, hnsw-sq8: these with a byte per component.
//
// A graph can take over the links of an earlier one, and lists the centroids
// (Builder.Reuse), so that a small change to a large catalogue does not cost a
// whole build. Index.Tune measures how wide a search must be.
//
// Files are plain FAISS files of IndexFlat, IndexIVFFlat, IndexHNSWFlat,
// IndexIVFScalarQuantizer and IndexHNSWSQ without an id map, which any FAISS since 1.7 reads. FAISS makes, trains, reads
// and writes them, through github.com/blevesearch/go-faiss; graphs are linked
// and everything is searched by the native library's own code over the same
// arrays (see native/README.md), because FAISS loses results under a filter and
// Debian's build leaves the CPU's vector units idle.
//
// # Memory and threads
//
// Vectors live on the C heap: SizeBytes counts them, the Go runtime does not.
// A call searches on the threads of its own goroutine and, for large scans, on
// cores that no other call uses, at most GOMAXPROCS in the whole process.
// Building uses all cores, one build at a time.
package vecindex
