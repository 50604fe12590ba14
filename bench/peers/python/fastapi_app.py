"""FAISS behind FastAPI, as it is written by the book: a model for the body, a dictionary for the answer."""
from typing import List

from fastapi import FastAPI
from pydantic import BaseModel

from holder import search

app = FastAPI()


class Query(BaseModel):
    vector: List[float]
    k: int = 10


@app.get("/ready")
async def ready():
    return {}


@app.post("/search")
async def find(q: Query):
    return {"results": search(q.vector, q.k)}
