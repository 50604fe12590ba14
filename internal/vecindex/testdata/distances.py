"""Opens index files as LangChain does and searches them.

usage: distances.py QUERIES DIMS K INDEX...    prints [{"metric", "ids", "distances", "faiss"}, ...]
"""
import json
import sys

import faiss
import numpy as np

queries = np.fromfile(sys.argv[1], dtype="float32").reshape(-1, int(sys.argv[2]))
out = []
for path in sys.argv[4:]:
    index = faiss.read_index(path)
    distances, ids = index.search(queries, int(sys.argv[3]))
    out.append({"metric": index.metric_type, "ids": ids.ravel().tolist(), "distances": distances.ravel().tolist(), "faiss": faiss.__version__})
print(json.dumps(out))
