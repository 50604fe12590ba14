"""A LangChain reader and writer without LangChain: Python's own pickle with stand-ins of the same class names.

make DIR N DIMS   writes index.faiss (IndexFlatL2, LangChain's default) and index.pkl as save_local does
read DIR          loads both as load_local does and prints, as JSON, each document and its nearest neighbours
"""

import json
import pickle
import sys
import types

import faiss
import numpy as np


def module(name):
    return sys.modules.setdefault(name, types.ModuleType(name))


def stand_in(where, name, **members):
    cls = type(name, (), {"__module__": where, **members})
    parts = where.split(".")
    for i in range(1, len(parts) + 1):
        module(".".join(parts[:i]))
    setattr(module(where), name, cls)
    return cls


def getstate(self):
    return {"__dict__": self.d, "__pydantic_extra__": None, "__pydantic_fields_set__": {"page_content", "metadata"}, "__pydantic_private__": None}


def setstate(self, state):
    self.d = state["__dict__"]


Docstore = stand_in("langchain_community.docstore.in_memory", "InMemoryDocstore")
Document = stand_in("langchain_core.documents.base", "Document", __getstate__=getstate, __setstate__=setstate)


def make(folder, n, dims):
    vectors = np.random.default_rng(7).normal(size=(n, dims)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.IndexFlatL2(dims)
    index.add(vectors)
    faiss.write_index(index, folder + "/index.faiss")
    store, ids = Docstore(), {}
    store._dict = {}
    for i in range(n):
        doc = Document()
        doc.d = {"id": None, "page_content": f"会社{i}\n古い本文 {i}", "type": "Document",
                 "metadata": {"vendor_id": f"V-{i:03d}", "name": f"会社{i}", "score": i * 1.5, "tags": ["a", "b"], "engagement": {"status": "面談済"}}}
        store._dict[f"uuid-{i}"] = doc
        ids[i] = f"uuid-{i}"
    with open(folder + "/index.pkl", "wb") as f:
        pickle.dump((store, ids), f)


def read(folder):
    index = faiss.read_index(folder + "/index.faiss")
    with open(folder + "/index.pkl", "rb") as f:
        store, ids = pickle.load(f)
    vectors = index.reconstruct_n(0, index.ntotal)
    _, near = index.search(vectors, 3)
    out = []
    for i in range(index.ntotal):
        d = store._dict[ids[i]].d
        out.append({"page_content": d["page_content"], "metadata": d["metadata"], "near": near[i].tolist(), "vector": vectors[i].tolist()})
    json.dump(out, sys.stdout)


if sys.argv[1] == "make":
    make(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    read(sys.argv[2])
