"""Stand-ins for LangChain's classes, with the state that pydantic 2 pickles, to write and read index.pkl.

usage: roundtrip.py read FILE           one JSON line a document: [position, id, page_content, metadata]
       roundtrip.py write FILE PROTOCOL JSON lines [id, page_content, metadata] on stdin, memoised as Python does it
"""
import json
import pickle
import sys
import types


def module(name):
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
    return sys.modules[name]


class Document:
    def __getstate__(self):
        return {
            "__dict__": self.__dict__,
            "__pydantic_extra__": None,
            "__pydantic_fields_set__": {"metadata", "page_content"},
            "__pydantic_private__": None,
        }

    def __setstate__(self, state):
        assert set(state) == {"__dict__", "__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__"}, state
        assert isinstance(state["__pydantic_fields_set__"], set), state
        assert state["__dict__"]["type"] == "Document", state
        assert list(state["__dict__"]) == ["id", "metadata", "page_content", "type"], state
        self.__dict__.update(state["__dict__"])


class InMemoryDocstore:
    pass


for cls, name in ((Document, "langchain_core.documents.base"), (InMemoryDocstore, "langchain_community.docstore.in_memory")):
    cls.__module__ = name
    cls.__qualname__ = cls.__name__
    setattr(module(name), cls.__name__, cls)

if sys.argv[1] == "read":
    with open(sys.argv[2], "rb") as f:
        store, positions = pickle.load(f)
        assert f.read() == b"", "bytes after the end"
    assert type(store) is InMemoryDocstore and list(positions) == list(range(len(positions)))
    for position, key in positions.items():
        d = store._dict[key]
        assert d.id == key, (d.id, key)
        print(json.dumps([position, key, d.page_content, d.metadata], ensure_ascii=False))
else:
    store, positions = InMemoryDocstore(), {}
    store._dict = {}
    for line in sys.stdin:
        key, text, metadata = json.loads(line)
        d = Document()
        d.__dict__.update(id=key, metadata=metadata, page_content=text, type="Document")
        positions[len(positions)] = key
        store._dict[key] = d
    with open(sys.argv[2], "wb") as f:
        pickle.dump((store, positions), f, protocol=int(sys.argv[3]))
