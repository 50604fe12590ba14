"""Measures Debian's python3-faiss on one task; compare_test.go is its twin."""
import json
import sys
import time

import faiss
import numpy as np

task = json.load(open(sys.argv[1]))
d, nq = task["Dims"], task["NQ"]
rows = np.fromfile(task["Rows"], dtype=np.float32).reshape(-1, d)
queries = np.fromfile(task["Queries"], dtype=np.float32).reshape(-1, d)

faiss.omp_set_num_threads(task["Threads"])
start = time.perf_counter()
if task["Build"] == "hnsw":
    index = faiss.IndexHNSWFlat(d, task["M"], faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = task["EfC"]
    index.hnsw.efSearch = task["Ef"]
elif task["Build"].startswith("ivf"):
    codes = "SQ8" if task["Build"] == "ivf-sq8" else "Flat"
    description = "IVF%d,%s" % (task["NList"], codes)
    index = faiss.index_factory(d, description, faiss.METRIC_INNER_PRODUCT)
    step = max(1, len(rows) // (64 * task["NList"]))
    index.train(np.ascontiguousarray(rows[::step]))
    index.nprobe = task["NProbe"]
else:
    index = faiss.IndexFlatIP(d)
index.add(rows)
result = {"BuildSeconds": time.perf_counter() - start}

# Searches on one thread, as a request in a server runs.
faiss.omp_set_num_threads(1)
k, batch = 10, 16
index.search(queries[:1], k)
got = []
start = time.perf_counter()
for i in range(nq):
    got.append(index.search(queries[i : i + 1], k)[1][0])
result["OneMillis"] = (time.perf_counter() - start) * 1000 / nq
start = time.perf_counter()
for at in range(0, nq, batch):
    index.search(queries[at : at + batch], k)
result["BatchQPS"] = nq / (time.perf_counter() - start)

flat = faiss.IndexFlatIP(d)
flat.add(rows)
want = flat.search(queries, k)[1]
result["Recall"] = float(np.mean([len(set(g) & set(w)) / k for g, w in zip(got, want)]))
print("RESULT", json.dumps(result))
