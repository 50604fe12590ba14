// Reads index.pkl the way LangChain.js does: pickleparser with a registry of the two classes.
// usage: node read.js NODE_MODULES FILE; one JSON line a document: [position, id, page_content, metadata]
const { createRequire } = require("node:module");
const fs = require("node:fs");
const { Parser, NameRegistry } = createRequire(process.argv[2] + "/../")("pickleparser");

class PydanticDocument extends Map {} // filled by pickleparser from __dict__
class InMemoryDocstore {
  constructor() {
    this._dict = undefined;
  }
}
const registry = new NameRegistry()
  .register("langchain_core.documents.base", "Document", PydanticDocument)
  .register("langchain_community.docstore.in_memory", "InMemoryDocstore", InMemoryDocstore);
const plain = (v) =>
  typeof v === "bigint" ? Number(v)
  : v instanceof Map ? Object.fromEntries([...v].map(([k, x]) => [k, plain(x)]))
  : Array.isArray(v) ? v.map(plain)
  : v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, plain(x)]))
  : v;
const [store, positions] = new Parser({ nameResolver: registry }).parse(fs.readFileSync(process.argv[3]));
const dict = store._dict instanceof Map ? Object.fromEntries(store._dict) : store._dict;
const map = positions instanceof Map ? Object.fromEntries(positions) : positions;
for (const position of Object.keys(map)) {
  const d = dict[map[position]];
  console.log(JSON.stringify([Number(position), map[position], d.get("page_content"), plain(d.get("metadata"))]));
}
