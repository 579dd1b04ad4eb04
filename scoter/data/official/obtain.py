"""A registered dataset from its official files, fetched where they are not here yet."""

import sys
from pathlib import Path

from tqdm import tqdm

from scoter.data.official.download import fetch
from scoter.data.official.prepare import prepare
from scoter.data.sources import CACHE, check_counts, source_named
from scoter.types import Catalog, InteractionLog


def obtain(
    name: str, raw: Path | None = None, published: bool = True
) -> tuple[InteractionLog, Catalog]:
    """Log and catalogue of a registered dataset from the files in `raw` (data-cache/raw/NAME).

    The citation and the terms are printed first. Where `published`, other counts are refused.
    """
    source = source_named(name)
    raw = raw or CACHE / "raw" / name
    tqdm.write(f"{name}: {source.citation}\nterms: {source.terms}", file=sys.stderr)
    fetch(source, raw)
    log, catalog = prepare(source, raw)
    if published:
        check_counts(name, log, catalog)
    return log, catalog
