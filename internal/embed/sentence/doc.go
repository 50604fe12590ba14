// Package sentence turns texts into vectors that stand for what they say, in this process: Universal Sentence Encoder
// Multilingual v3 (Google, Apache License 2.0), which learned from questions and answers, translations and paraphrases in
// sixteen languages, Japanese and English among them. docs/MODELS.md measures what it finds, beside other models.
//
// The weights lie in one file that tools/weights makes of a package; it is mapped, so that processes on one machine share
// it and memory pressure may drop it. The network is small: an embedding table of 128,010 rows in 6 bits, two layers of
// convolutions over 2, 3 and 5 pieces, a mean, and four dense layers. Nearly all the time goes into products of matrices,
// which run on kernels in assembly (AVX-512 or AVX2 with FMA, chosen at start, VECTORSTORE_SIMD overrides) or in Go.
// They add in different orders, so vectors differ by about 1e-6 between machines; they are compared, never hashed.
package sentence
