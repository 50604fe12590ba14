"""A LangChain retriever over the server: for chains and agents that asked a FAISS index in their own process.

usage: retriever.py [question]
"""

import sys
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from search import search


class VendorRetriever(BaseRetriever):
    """Finds vendors by meaning and by word. `filter` narrows every question: {"type": ["SaaS", "SI"]}."""

    k: int = 5
    mode: str = "hybrid"
    filter: dict[str, Any] | None = None

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        more = {"filter": self.filter} if self.filter else {}
        return [
            Document(id=hit["id"], page_content=hit["text"], metadata={**hit["metadata"], "score": hit["score"]})
            for hit in search(query, k=self.k, mode=self.mode, **more)
        ]


if __name__ == "__main__":
    retriever = VendorRetriever(k=3, filter={"type": ["SaaS", "SI"]})
    question = sys.argv[1] if len(sys.argv) > 1 else "冷凍倉庫の温度を監視したい"
    for document in retriever.invoke(question):
        print(f"{document.metadata['score']:.2f}\t{document.id}\t{document.metadata.get('name', '')}")
