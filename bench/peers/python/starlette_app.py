"""FAISS behind bare Starlette with ujson: the least that a Python server needs."""
import ujson
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from holder import search


async def ready(request):
    return Response(b"{}", media_type="application/json")


async def find(request):
    q = ujson.loads(await request.body())
    return Response(ujson.dumps({"results": search(q["vector"], q["k"])}), media_type="application/json")


app = Starlette(routes=[Route("/ready", ready), Route("/search", find, methods=["POST"])])
