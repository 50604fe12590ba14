"""The old service's side, with the real LangChain: saves folders as its users did, loads what we leave under current/.

usage: langchain.py make (FOLDER SPEC.json)...   saves folders: importing LangChain takes longer than that
       langchain.py read FOLDER                  prints each document with its vector and nearest neighbours, in order
       langchain.py rank FOLDER SPEC.json        prints, for each of the spec's queries, [docstore id, raw score] best first

SPEC.json: {"url", "model", "dims", "texts", "metadatas", "ids", "uuids", "strategy", "normalize", "index_name", "scale",
"python", "queries", "k"}; python is code that may change metadatas before they are saved.
"""

import json
import sys
import uuid

import requests
from langchain_community.vectorstores import FAISS
from langchain_community.vectorstores.utils import DistanceStrategy
from langchain_core.embeddings import Embeddings


class OpenAI(Embeddings):
    """What OpenAIEmbeddings sends, to a server of the test."""

    def __init__(self, spec):
        self.spec = spec

    def embed_documents(self, texts):
        body = {"input": texts, "model": self.spec["model"], "dimensions": self.spec["dims"]}
        answer = requests.post(self.spec["url"] + "/embeddings", json=body, headers={"Authorization": "Bearer sk-test"}, timeout=30)
        answer.raise_for_status()
        scale = self.spec.get("scale") or 1.0
        return [[x * scale for x in d["embedding"]] for d in sorted(answer.json()["data"], key=lambda d: d["index"])]

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def make(folder, spec):
    metadatas = spec.get("metadatas")
    scope = {"metadatas": metadatas}
    exec(spec.get("python") or "", scope)
    ids = spec.get("ids")
    if spec.get("uuids"):
        ids = [str(uuid.UUID(int=i + 1)) for i in range(len(spec["texts"]))]
    options = {"normalize_L2": bool(spec.get("normalize"))}
    if spec.get("strategy"):
        options["distance_strategy"] = DistanceStrategy[spec["strategy"]]
    embeddings = OpenAI(spec)
    pairs = list(zip(spec["texts"], embeddings.embed_documents(spec["texts"])))
    store = FAISS.from_embeddings(pairs, embeddings, metadatas=scope["metadatas"], ids=ids, **options)
    store.save_local(folder, index_name=spec.get("index_name") or "index")


def load(folder, embeddings):
    return FAISS.load_local(folder, embeddings, allow_dangerous_deserialization=True)


def read(folder):
    store = load(folder, None)
    vectors = store.index.reconstruct_n(0, store.index.ntotal)
    _, near = store.index.search(vectors, 3)
    out = []
    for i in range(store.index.ntotal):
        key = store.index_to_docstore_id[i]
        d = store.docstore.search(key)
        out.append({"id": key, "page_content": d.page_content, "metadata": d.metadata, "near": near[i].tolist(), "vector": vectors[i].tolist()})
    json.dump({"metric": store.index.metric_type, "documents": out}, sys.stdout)


def rank(folder, spec):
    store = load(folder, OpenAI(spec))
    out = []
    for query in spec["queries"]:
        found = store.similarity_search_with_score(query, k=spec["k"])
        out.append([[d.id, float(score)] for d, score in found])
    json.dump(out, sys.stdout)


def spec(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


verb, args = sys.argv[1], sys.argv[2:]
if verb == "make":
    for folder, path in zip(args[::2], args[1::2]):
        make(folder, spec(path))
elif verb == "read":
    read(args[0])
else:
    rank(args[0], spec(args[1]))
