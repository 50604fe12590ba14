"""Writes with whatever LangChain is installed a small FAISS folder, to keep: versions/<version>.pkl is its index.pkl.

usage: versions.py NAME    in an environment with that release; prints the releases
"""
import os
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version

try:
    from langchain_community.vectorstores import FAISS
except ImportError:
    from langchain.vectorstores import FAISS


class Embeddings:
    def embed_documents(self, texts):
        return [self.embed_query(t) for t in texts]

    def embed_query(self, text):
        return [float(len(text)), 1.0, 0.5, 0.25]

    __call__ = embed_query


docs = [
    ("株式会社氷室", {"vendor_id": "V-001", "type": ["物流", "SaaS"], "engagement": {"status": "面談済", "score": 7}, "source": None}),
    ("株式会社氷室", {"vendor_id": "V-001", "type": [], "capital": 1.5, "listed": False}),
    ("Tōkyō Foods 😀", {"id": 3}),
]
store = FAISS.from_texts([t for t, _ in docs], Embeddings(), metadatas=[m for _, m in docs])
folder = tempfile.mkdtemp()
store.save_local(folder)
here = os.path.dirname(os.path.abspath(__file__))
shutil.copy(os.path.join(folder, "index.pkl"), os.path.join(here, "versions", sys.argv[1] + ".pkl"))
for name in ("langchain", "langchain-community", "langchain-core", "pydantic", "faiss-cpu", "numpy"):
    try:
        print(name, version(name), end="  ")
    except PackageNotFoundError:
        pass
print()
