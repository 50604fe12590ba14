"""Search vendors from Python, with nothing but the standard library. usage: search.py [question]"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ.get("VECTORSTORE_URL", "http://localhost:8080")
KEY = os.environ.get("VECTORSTORE_KEY", "")


class ProblemError(Exception):
    """What the server said instead of an answer (RFC 9457 problem details)."""

    def __init__(self, status: int, problem: dict):
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.status, self.problem = status, problem


def call(path: str, body: dict | None = None, tries: int = 3) -> dict:
    """GET, or POST with a body. Waits and asks again while the server is loading (503) or we ask too often (429)."""
    headers = {"Content-Type": "application/json"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    data = None if body is None else json.dumps(body).encode()
    for left in range(tries - 1, -1, -1):
        try:
            with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers), timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as err:
            with err:
                problem = json.load(err)
                if err.code not in (429, 503) or not left:
                    raise ProblemError(err.code, problem) from None
                time.sleep(min(float(err.headers.get("Retry-After", 1)), 10))
    raise AssertionError("tries is at least 1")


def search(query: str = "", k: int = 5, **more) -> list[dict]:
    """more: mode, filter, sort, fields, offset and so on, as /docs describes them."""
    return call("/search", {"query": query, "k": k, **more})["results"]


def everything(page: int = 50, **question):
    """All results of a question, page by page."""
    for offset in range(0, 10_001, page):
        results = search(k=page, offset=offset, **question)
        yield from results
        if len(results) < page:
            return


if __name__ == "__main__":
    question = sys.argv[1] if len(sys.argv) > 1 else "冷凍倉庫の温度を監視したい"
    for hit in search(question, k=3):
        print(f"{hit['score']:.2f}\t{hit['id']}\t{hit['metadata'].get('name', '')}")
    print("SaaS with at least 7 points:")
    for hit in search(k=3, filter={"type": ["SaaS"], "score_num": {"gte": 7}}):
        print(f"{hit['id']}\t{hit['metadata']['score_num']}")
    names = [hit["metadata"]["name"] for hit in everything(filter={}, sort={"field": "name"}, fields=["name"])]
    print(len(names), "vendors in all, from", names[0], "to", names[-1])
    try:
        search(question, k=101)
    except ProblemError as err:
        print("a k above 100 is refused:", err)
