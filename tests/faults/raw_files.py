"""Small raw files in the official formats, for attempts to break what reads them."""

import gzip
import json
from pathlib import Path

import numpy as np


def write_raw_amazon(folder: Path, users: int = 210, items: int = 300, seed: int = 0) -> None:
    """`reviews_Beauty_5.json.gz` and `meta_Beauty.json.gz`: every item has seven, so that the
    five-core keeps all."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    reviews = [
        {
            "reviewerID": f"A{user}",
            "asin": f"B{item:09}",
            "unixReviewTime": 1_300_000_000 + 86_400 * place,
            "overall": 5.0,
        }
        for user in range(users)
        for place, item in enumerate(rng.permutation((10 * user + np.arange(10)) % items).tolist())
    ]
    described = [
        {
            "asin": f"B{item:09}",
            "title": f"Item {item} of kind {item % 4}",
            "brand": f"Brand {item % 3}",
            "categories": [["Beauty", f"Kind {item % 4}"]],
            "price": 1.5 * item,
        }
        for item in range(items)
    ]
    _pack(folder / "reviews_Beauty_5.json.gz", [json.dumps(row) for row in reviews])
    _pack(folder / "meta_Beauty.json.gz", [repr(row) for row in described])


def _pack(path: Path, lines: list[str]) -> None:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
