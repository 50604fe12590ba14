"""The index that a worker serves: BENCH_INDEX is a FAISS file, BENCH_PARAM its efSearch or nprobe (0: none)."""
import os

import faiss
import numpy as np

faiss.omp_set_num_threads(1)  # two workers on two cores
index = faiss.read_index(os.environ["BENCH_INDEX"])
param = int(os.environ.get("BENCH_PARAM", "0"))
if param and hasattr(index, "hnsw"):
    index.hnsw.efSearch = param
elif param:
    faiss.extract_index_ivf(index).nprobe = param


def search(vector, k):
    scores, ids = index.search(np.asarray(vector, dtype=np.float32).reshape(1, -1), k)
    return [{"id": i, "score": s} for i, s in zip(ids[0].tolist(), scores[0].tolist())]
