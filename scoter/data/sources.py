"""Public datasets: where they come from, what they must count, and where they are found here.

The addresses are those of the official hosts. None of the datasets is redistributed with scoter.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from scoter.errors import DataError, closest
from scoter.plugins import Plugins
from scoter.types import Catalog, InteractionLog

if TYPE_CHECKING:
    import pandas as pd

    from scoter.data.datasets import Dataset

    DatasetMaker = Callable[[], Dataset | tuple[pd.DataFrame, pd.DataFrame | None]]

SIMULATED = "simulated"
DATASETS: "Plugins[DatasetMaker]" = Plugins(
    "a dataset of a plug-in", "scoter.datasets", {}, reserved=(SIMULATED,)
)

Release = Literal["amazon-2014", "amazon-2018", "yelp"]

PREPARED_FILES = ("interactions.parquet", "items.parquet")
CACHE = Path("data-cache")


@dataclass(frozen=True)
class Counts:
    """How many users, items and interactions a dataset has after preparation."""

    users: int
    items: int
    interactions: int

    def __str__(self) -> str:
        return f"{self.users:,} users, {self.items:,} items, {self.interactions:,} interactions"


@dataclass(frozen=True)
class Source:
    """One public dataset."""

    name: str
    release: Release  # decides the format of its files
    files: tuple[str, str]  # raw files: the reviews, then the items' metadata
    addresses: tuple[str, ...]  # of the files; empty where terms must be accepted by hand first
    page: str  # where people read about it
    citation: str
    terms: str
    counts: Counts  # as published


def check_counts(name: str, log: InteractionLog, catalog: Catalog) -> None:
    """Refuse a public dataset whose counts are not the published ones; other names pass."""
    source = REGISTRY.get(name)
    counts = Counts(log.user_count, catalog.item_count, len(log.items))
    if source is not None and counts != source.counts:
        differs = f"dataset {name!r} should have {source.counts}, but these files have {counts}"
        another = f"or use another name (`scoter data prepare {name} --other-release --out DIR`)"
        raise DataError(f"{differs}; get the release at {source.page}, {another}")


def source_named(name: str) -> Source:
    """The registry entry of `name`; an unknown name is a `DataError` that lists the known ones."""
    if name not in REGISTRY:
        known = f"choose from {', '.join(REGISTRY)}{closest(name, REGISTRY)}"
        raise DataError(f"dataset {name!r} is not in the registry; {known}")
    return REGISTRY[name]


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds the two files of a prepared dataset."""
    return all((folder / name).is_file() for name in PREPARED_FILES)


def locate(name: str, data_dir: Path | None = None) -> Path | None:
    """The prepared folder of a dataset, or None where there is none.

    `data_dir` is a prepared folder or holds one per dataset, else it is a `DataError`. Without it,
    `$SCOTER_DATA/NAME` comes first, then `data-cache/NAME`.
    """
    if data_dir is None:
        return next((root / name for root in _roots() if is_prepared(root / name)), None)
    for folder in (data_dir, data_dir / name):
        if is_prepared(folder):
            return folder
    lacks = f"neither it nor its folder {name!r} has {' and '.join(PREPARED_FILES)}"
    start = f"--data {data_dir} holds no prepared dataset {name!r}: {lacks}"
    raise DataError(f"{start}; make one with `scoter data prepare`")


def prepared_names(data_dir: Path | None = None) -> list[str]:
    """The names of the prepared datasets where `locate` looks: a folder's name is its dataset's."""
    if data_dir is not None and is_prepared(data_dir):
        return [Path(os.path.abspath(data_dir)).name]
    roots = _roots() if data_dir is None else [data_dir]
    folders = (folder for root in roots if root.is_dir() for folder in root.iterdir())
    return sorted({folder.name for folder in folders if is_prepared(folder)})


def _roots() -> list[Path]:
    given = os.environ.get("SCOTER_DATA")
    return [Path(given), CACHE] if given else [CACHE]


_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
_UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2"
_TERMS = "Research use; not to be redistributed. Amazon's conditions of use apply to the texts."
_CITATION_2014 = (
    "R. He and J. McAuley. Ups and downs: modeling the visual evolution of fashion trends with "
    "one-class collaborative filtering. WWW 2016; J. McAuley, C. Targett, Q. Shi and A. van den "
    "Hengel. Image-based recommendations on styles and substitutes. SIGIR 2015."
)


def _amazon_2014(name: str, category: str, counts: Counts) -> Source:
    files = (f"reviews_{category}_5.json.gz", f"meta_{category}.json.gz")
    addresses = tuple(f"{_SNAP}/{file}" for file in files)
    page = "https://jmcauley.ucsd.edu/data/amazon/links.html"
    return Source(name, "amazon-2014", files, addresses, page, _CITATION_2014, _TERMS, counts)


_SOURCES = (
    _amazon_2014("beauty", "Beauty", Counts(22_363, 12_101, 198_502)),
    _amazon_2014("sports", "Sports_and_Outdoors", Counts(35_598, 18_357, 296_337)),
    _amazon_2014("toys", "Toys_and_Games", Counts(19_412, 11_924, 167_597)),
    Source(
        name="yelp",
        release="yelp",
        files=("yelp_academic_dataset_review.json", "yelp_academic_dataset_business.json"),
        addresses=(),
        page="https://www.yelp.com/dataset",
        citation="Yelp Open Dataset, 2020 release, reviews of 2019.",
        terms="Academic use under the Yelp Dataset User Agreement, which must be accepted on the "
        "page; not to be redistributed.",
        counts=Counts(30_431, 20_033, 316_354),
    ),
    Source(
        name="instruments",
        release="amazon-2018",
        files=("Musical_Instruments_5.json.gz", "meta_Musical_Instruments.json.gz"),
        addresses=(
            f"{_UCSD}/categoryFilesSmall/Musical_Instruments_5.json.gz",
            f"{_UCSD}/metaFiles2/meta_Musical_Instruments.json.gz",
        ),
        page="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
        citation="J. Ni, J. Li and J. McAuley. Justifying recommendations using distantly-labeled "
        "reviews and fine-grained aspects. EMNLP-IJCNLP 2019. Counts as published by LETTER (W. "
        "Wang et al., CIKM 2024).",
        terms=_TERMS,
        counts=Counts(24_772, 9_922, 206_153),
    ),
)

REGISTRY: Mapping[str, Source] = MappingProxyType({source.name: source for source in _SOURCES})
