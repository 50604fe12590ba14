"""Writes, with the real LangChain, NumPy and pandas, an index.pkl of one document whose metadata holds what rows hold.

usage: scalars.py FILE PROTOCOL
"""
import collections
import datetime as dt
import decimal
import pathlib
import pickle
import sys
import uuid
import zoneinfo

import numpy as np
import pandas as pd
from langchain_community.docstore.in_memory import InMemoryDocstore
from langchain_core.documents import Document

jst = dt.timezone(dt.timedelta(hours=9))
row = pd.DataFrame({"n": [12, None], "since": pd.to_datetime(["2024-01-02 03:04:05", None])}).to_dict("records")
metadata = {
    "datetime": dt.datetime(2024, 1, 2, 3, 4, 5),
    "micros": dt.datetime(2024, 1, 2, 3, 4, 5, 60),
    "utc": dt.datetime(2024, 1, 2, tzinfo=dt.timezone.utc),
    "jst": dt.datetime(2024, 1, 2, tzinfo=jst),
    "tokyo": dt.datetime(2024, 1, 2, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")),
    "date": dt.date(2024, 1, 2),
    "time": dt.time(3, 4, 5),
    "delta": dt.timedelta(days=1, seconds=2),
    "decimal": decimal.Decimal("12.50"),
    "uuid": uuid.UUID(int=(1 << 127) + 5),
    "path": pathlib.PurePosixPath("/data/会社.md"),
    "ordered": collections.OrderedDict(a=1),
    "nan": float("nan"),
    "infinite": [1.5, float("-inf")],
    "f2": np.float16(0.5),
    "f4": np.float32(0.1),
    "f8": np.float64(1.5),
    "fnan": np.float64("nan"),
    "i1": np.int8(-3),
    "i8": np.int64(-7),
    "u8": np.uint64(2**64 - 1),
    "bool": np.bool_(True),
    "str": np.str_("東京"),
    "dt64": np.datetime64("2024-01-02T03:04:05"),
    "day64": np.datetime64("2024-01-02"),
    "nat64": np.datetime64("NaT"),
    "td64": np.timedelta64(36, "h"),
    "big": np.array([258], ">i4")[0],
    "pn": row[0]["n"],
    "pnan": row[1]["n"],
    "pts": row[0]["since"],
    "pnat": row[1]["since"],
    "pzone": pd.Timestamp("2024-01-02", tz="Asia/Tokyo"),
    "ptd": pd.Timedelta("1.5s"),
    "pna": pd.NA,
    "nested": {"a": [{"b": decimal.Decimal("1")}]},
    7: "int key",
}
store, key = InMemoryDocstore(), uuid.UUID(int=1)
store.add({key: Document(page_content="本文", metadata=metadata)})
with open(sys.argv[1], "wb") as f:
    pickle.dump((store, {0: key}), f, protocol=int(sys.argv[2]))
