"""Builds an index with Debian's python3-faiss and measures it without HTTP.

usage: build.py DATASET-DIR DIMS KIND OUT TARGET   KIND: flat | hnsw | ivfsq8, TARGET: recall@10 to tune for
Prints one JSON object: build_s, search parameter, curve of (parameter, recall, queries/s on one thread).
Run it with LD_PRELOAD set to measure other distance kernels.
"""
import json
import os
import sys
import time

import faiss
import numpy as np

K = 10
STEPS = [8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512]


def load(directory, dims):
    read = lambda name, dtype, width: np.fromfile(os.path.join(directory, name), dtype=dtype).reshape(-1, width)
    return read("base.f32", "<f4", dims), read("queries.f32", "<f4", dims), read("truth.i32", "<i4", K)


def make(kind, dims, n):
    if kind == "flat":
        return faiss.IndexFlatIP(dims), None
    if kind == "hnsw":  # efConstruction stays at the library's default of 40
        return faiss.IndexHNSWFlat(dims, 32, faiss.METRIC_INNER_PRODUCT), lambda ix, v: setattr(ix.hnsw, "efSearch", v)
    if kind == "ivfsq8":
        nlist = int(4 * n ** 0.5)
        ix = faiss.index_factory(dims, f"IVF{nlist},SQ8", faiss.METRIC_INNER_PRODUCT)
        return ix, lambda ix, v: setattr(faiss.extract_index_ivf(ix), "nprobe", v)
    raise SystemExit(f"unknown kind {kind}")


def measure(index, queries, truth):
    """recall@10, and 1 / the median time of a query, asked one after the other on one thread"""
    faiss.omp_set_num_threads(1)
    found, took = [], []
    for i in range(len(queries)):
        start = time.perf_counter()
        found.append(index.search(queries[i : i + 1], K)[1][0])
        took.append(time.perf_counter() - start)
    hits = sum(len(set(f.tolist()) & set(t.tolist())) for f, t in zip(found, truth))
    return hits / truth.size, 1 / float(np.median(took))


def main():
    directory, dims, kind, out, target = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5])
    base, queries, truth = load(directory, dims)
    faiss.omp_set_num_threads(os.cpu_count())
    index, setter = make(kind, dims, len(base))
    start = time.perf_counter()
    if not index.is_trained:
        index.train(base)
    index.add(base)
    build_s = time.perf_counter() - start
    faiss.write_index(index, out)
    result = {"build_s": build_s, "bytes": os.path.getsize(out), "param": 0, "curve": []}
    if setter is None:
        recall, qps = measure(index, queries[:100], truth[:100])
        result["curve"].append({"param": 0, "recall": recall, "qps": qps})
        start = time.perf_counter()  # OPENBLAS_NUM_THREADS=1 keeps this on one thread
        for _ in range(3):
            index.search(queries[:64], K)
        result["batch_qps"] = 3 * min(64, len(queries)) / (time.perf_counter() - start)
    else:
        for step in STEPS:
            setter(index, step)
            recall, qps = measure(index, queries, truth)
            result["curve"].append({"param": step, "recall": recall, "qps": qps})
            if recall >= target and not result["param"]:
                result["param"] = step
            if recall >= max(target, 0.998) or len(result["curve"]) > 5 and recall - result["curve"][-5]["recall"] < 0.001:
                break
        if not result["param"]:  # the target is out of reach (8-bit codes): the best there is
            result["param"] = max(result["curve"], key=lambda c: (c["recall"], -c["param"]))["param"]
    print(json.dumps(result))


main()
