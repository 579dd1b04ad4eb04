"""What is fuzzed: each parser and loader, with good files to start from and hostile ones that
mutation would not find soon."""

import gzip
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scoter.config import SimulatedConfig
from scoter.errors import ScoterError
from scoter.storage.store import MANIFEST, hash_file
from scoter.types import Catalog, InteractionLog, ReasoningPattern, Step

_EVENTS, _ITEMS = "interactions.parquet", "items.parquet"


@dataclass(frozen=True)
class Target:
    """A reader of one file. `refuses` are the errors that it may raise; `change`, where given,
    mutates what bytes cannot."""

    name: str
    suffix: str
    read: Callable[[Path], object]
    good: Sequence[bytes]
    hostile: Sequence[bytes] = ()
    refuses: tuple[type[Exception], ...] = (ScoterError,)


def targets(folder: Path) -> list[Target]:
    """Every target; their fixed files lie in `folder`."""
    return [
        *_raw(folder),
        *_tables(folder),
        *_configs(),
        *_chains(folder),
        *_bundle(folder),
        *_theory(),
    ]


class _Everything:
    """A container that holds whatever is asked for."""

    def __contains__(self, key: object) -> bool:
        return True


def _raw(folder: Path) -> list[Target]:
    from scoter.data.official.raw import read_metadata, read_reviews
    from scoter.data.prepared import save_prepared

    def metadata(release: Any) -> Callable[[Path], object]:
        def read(path: Path) -> None:
            found = read_metadata(path, release, _Everything())
            columns = {
                name: tuple(cells[name] for cells in found.values())
                for name in next(iter(found.values()))
            }
            log = InteractionLog(np.arange(len(found)), np.array([0, len(found)]), ("someone",))
            save_prepared(log, Catalog(tuple(found), columns), folder / "saved")

        return read

    def reviews(release: Any) -> Callable[[Path], object]:
        def read(path: Path) -> None:
            found = read_reviews(path, release)
            for keys in (found.user_keys, found.item_keys):
                pa.array(keys)

        return read

    review = {
        "reviewerID": "A1",
        "asin": "B1",
        "unixReviewTime": 1300000000,
        "overall": 5.0,
        "reviewText": "<b>good</b>",
    }
    item_2014 = {
        "asin": "B1",
        "title": "Soap &amp; more",
        "brand": "X",
        "categories": [["Beauty", "Bath"]],
        "price": 3.5,
    }
    item_2018 = {
        "asin": "B1",
        "title": "Soap",
        "brand": "by\nX",
        "category": ["Bath", "<span>x</span>"],
        "price": "$3.50",
    }
    visit = {"user_id": "u", "business_id": "b", "date": "2019-03-04 10:00:00", "stars": 4}
    business = {"business_id": "b", "name": "Bakery", "categories": "Food, Bread"}
    tower, bomb = b"[" * 200_000, gzip.compress(b"\n" * 1_000_000) * 50
    one_line = gzip.compress(b'{"a": "') + gzip.compress(b"x" * 1_000_000) * 300
    tags = _lines({"asin": "B", "title": "<a" * 200_000})
    wide_dict = b"{'asin': 'B1', 'a': [" + b"1," * 700_000 + b"]}"
    return [
        Target("Amazon reviews", ".json", reviews("amazon-2014"), [_lines(review, review)],
            [tower, b"\xff" * 100]),
        Target("Amazon reviews, packed", ".json.gz", reviews("amazon-2014"), [_packed(review)],
            [bomb, one_line]),
        Target("Amazon 2014 metadata", ".json", metadata("amazon-2014"), [_literals(item_2014)],
            [b"(" * 50_000, wide_dict]),
        Target("Amazon 2018 metadata", ".json", metadata("amazon-2018"), [_lines(item_2018)],
            [tags]),
        Target("Yelp reviews", ".json", reviews("yelp"), [_lines(visit)], [tower + b"2019"]),
        Target("Yelp businesses", ".json", metadata("yelp"), [_lines(business)], [tower]),
    ]  # fmt: skip


def _tables(folder: Path) -> list[Target]:
    from scoter.data.prepared import load_prepared, save_prepared
    from scoter.data.tables import load_table
    from scoter.evaluation.evaluator import load_user_metrics, save_user_metrics
    from scoter.types import UserMetrics

    rows = b"user,item,timestamp\n" + b"".join(
        b"u%d,i%d,%d\n" % (n % 3, n, 1546300800 + n) for n in range(12)
    )
    dated = (
        b"user,item,timestamp\nann,1,2019-01-01\n"
        b"ann,2,2019-01-02T03:04:05+01:00\nann,3,2019-01-03\n"
    )
    items = b"item,title,categories,price\n" + b"".join(
        b"i%d,Soap %d,A|B,1.5\n" % (n, n) for n in range(12)
    )
    (folder / "rows.csv").write_bytes(rows)
    log = InteractionLog(
        np.array([0, 1, 0, 1]), np.array([0, 2, 4]), ("ann", "bob"), np.array([1, 2, 3, 4])
    )
    catalog = Catalog(
        ("a", "b"),
        {"title": ("Soap", "Comb"), "categories": (("x",), ()), "price": (1.0, float("nan"))},
    )
    good = folder / "good"
    save_prepared(log, catalog, good)
    save_user_metrics(
        UserMetrics(np.arange(5), np.array([0, 1, 2, 0, 3]), 10), folder / "ranks.parquet"
    )

    def own(path: Path) -> None:
        log, catalog = load_table(path, duplicates="first", short_users="keep")
        save_prepared(log, catalog, folder / "saved")

    def own_items(path: Path) -> None:
        log, catalog = load_table(folder / "rows.csv", path)
        save_prepared(log, catalog, folder / "saved")

    def prepared(name: str) -> Callable[[Path], object]:
        def read(path: Path) -> None:
            place = _forged(good, folder / "prepared", path, name)
            load_prepared(place)

        return read

    table = _parquet(
        pa.table({"user": ["a", "a", "b"], "item": ["x", "y", "x"], "timestamp": [1, 2, 3]})
    )
    described = _parquet(
        pa.table(
            {"item": [f"i{n}" for n in range(12)], "categories": [["A"]] * 12, "price": [1.0] * 12}
        )
    )
    one_value = _parquet(
        pa.table({"user": np.zeros(20_000_000, np.int8), "item": np.zeros(20_000_000, np.int8)})
    )
    bomb = gzip.compress(b"user,item,timestamp\n") + gzip.compress(b"a,b,1\n" * 200_000) * 300
    unclosed = b'user,item,timestamp\n"' + b"a" * 10**7
    events, listed, ranks = (
        path.read_bytes() for path in (good / _EVENTS, good / _ITEMS, folder / "ranks.parquet")
    )
    return [
        Target("own CSV, interactions", ".csv", own, [rows, dated], [b"", b"\x00" * 100, unclosed]),
        Target("own CSV, packed", ".csv.gz", own, [gzip.compress(rows)], [bomb]),
        Target("own CSV, items", ".csv", own_items, [items], []),
        Target("own parquet, interactions", ".parquet", own, [table, *_variants(table)],
            [one_value]),
        Target("own parquet, items", ".parquet", own_items, [described, *_variants(described)], []),
        Target("prepared interactions", ".parquet", prepared(_EVENTS), [events, *_variants(events)],
            [one_value]),
        Target("prepared items", ".parquet", prepared(_ITEMS), [listed, *_variants(listed)], []),
        Target("ranks", ".parquet", load_user_metrics, [ranks, *_variants(ranks)], []),
    ]  # fmt: skip


def _configs() -> list[Target]:
    from scoter.cli.reason import pattern_of
    from scoter.config import Experiment, from_json, to_json, with_overrides
    from scoter.experiments import experiment

    chosen = experiment("simulated-smoke")

    def settings(path: Path) -> None:
        text = path.read_bytes().decode(errors="surrogateescape")
        with_overrides(chosen, [line for line in text.split("\n") if line])

    def whole(path: Path) -> None:
        from_json(path.read_bytes().decode(errors="surrogateescape"), Experiment)

    some = (
        b"data.max_users=10\nmethods.*.training.epochs=2\npattern=[]\nnote=hello\n"
        b'data.simulated={"users": '
        b"5}"
    )
    digits, tower = b"data.max_users=" + b"9" * 10_000, b"pattern=" + b"[" * 100_000
    mined = (
        b'{"pattern": {"steps": [{"role": "recent_item", "parameters": {"lag": 1}}], "origin": '
        b'"given"}}'
    )
    return [
        Target("--set", ".txt", settings, [some], [digits, tower, b"a" * 10**6]),
        Target("experiment as JSON", ".json", whole, [to_json(chosen).encode()], [b"[" * 100_000]),
        Target("pattern.json", ".json", pattern_of, [mined], [b"[" * 100_000]),
    ]


def _chains(folder: Path) -> list[Target]:
    from scoter.data.simulated import simulate
    from scoter.data.split import leave_one_out
    from scoter.reasoning.chains.requests import WritingConfig
    from scoter.reasoning.chains.table import hand_written_pattern
    from scoter.reasoning.language.language_model import Completion, CompletionRequest, Message
    from scoter.reasoning.language.replies import RequestStore
    from scoter.reasoning.language.server_reply import TryAgain, read_body
    from scoter.reasoning.language.structured import Unusable, parse_chain
    from scoter.reasoning.writing.batch_files import export_batch, import_batch
    from scoter.reasoning.writing.engine import run_job
    from scoter.reasoning.writing.folder import FINISHED, JOB, ChainFolder
    from scoter.reasoning.writing.job import ChainJob
    from scoter.reasoning.writing.reader import read_chains

    shop = simulate(SimulatedConfig(users=8, min_length=6), 0)
    split, catalog = leave_one_out(shop.log), shop.catalog
    job = ChainJob(split, catalog, hand_written_pattern(catalog), "shop", shard_rows=1000)
    good = ChainFolder(folder / "chains")
    run_job(job, good, None)

    def chains(name: str) -> Callable[[Path], object]:
        def read(path: Path) -> None:
            place = ChainFolder(folder / "torn")
            shutil.rmtree(place.path, ignore_errors=True)
            shutil.copytree(good.path, place.path)
            shutil.copy(path, place.path / name)
            if name != FINISHED:
                place.finish(1)  # hashes that fit, as a forger would write them
            place.content_key()
            read_chains(place.path, split, catalog)

        return read

    asked = ChainJob(
        split,
        catalog,
        ReasoningPattern((Step("likes"), Step("needs"))),
        "shop",
        writing=WritingConfig("m"),
        limit=3,
    )
    export_batch(asked, RequestStore(folder / "none"), folder / "batch.jsonl")
    ids = [
        json.loads(line)["custom_id"] for line in (folder / "batch.jsonl").read_text().splitlines()
    ]
    said = {
        "steps": [{"role": "likes", "text": "Soap."}, {"role": "needs", "text": "Comb."}],
        "recommendations": ["x"],
    }
    body = {
        "choices": [{"message": {"content": json.dumps(said)}, "finish_reason": "stop"}],
        "usage": None,
    }
    answers = [
        {"custom_id": one, "response": {"status_code": 200, "body": body}, "error": None}
        for one in ids
    ]

    def batch(path: Path) -> None:
        shutil.rmtree(folder / "kept", ignore_errors=True)
        import_batch(asked, RequestStore(folder / "kept"), path)

    request = CompletionRequest((Message("user", "What?"),), "some-model")
    RequestStore(folder / "replies").put(request, Completion("That.", "stop", 1, 1, "{}"))
    kept = next((folder / "replies").glob("*.jsonl")).read_bytes()

    def replies(path: Path) -> None:
        place = folder / "one-reply"
        place.mkdir(exist_ok=True)
        shutil.copy(path, place / "a.jsonl")
        found = RequestStore(place)
        found.get(request)
        found.check()

    def reply(path: Path) -> None:
        raw = path.read_bytes()
        found = read_body(raw)
        RequestStore(folder / "kept").put(request, found.completion(raw, request))
        parse_chain(found.text)

    shard, finished, told = (
        path.read_bytes() for path in (good.shard(0), good.path / FINISHED, good.path / JOB)
    )
    tower = b"[" * 200_000
    long_line = b'{"custom_id": "' + b"x" * 40_000_000 + b'"}'
    return [
        Target(
            "chains, shard", ".parquet", chains(good.shard(0).name), [shard, *_variants(shard)], []
        ),
        Target("chains, job.json", ".json", chains(JOB), [told], [tower]),
        Target("chains, finished.json", ".json", chains(FINISHED), [finished], [tower]),
        Target("batch file", ".jsonl", batch, [_lines(*answers)], [tower, long_line]),
        Target(
            "stored replies",
            ".jsonl",
            replies,
            [kept],
            [tower, kept.replace(b'"text":', b'"text":' + b"[" * 100_000)],
        ),
        Target("a server's reply", ".json", reply, [_lines(body)], [tower], (TryAgain, Unusable)),
    ]


def _bundle(folder: Path) -> list[Target]:
    from small_store import make_small_store

    from scoter.serving.bundle_reader import open_bundle

    good = make_small_store(folder / "small") / "bundle"

    def bundle(name: str) -> Callable[[Path], object]:
        def read(path: Path) -> None:
            place = _forged(good, folder / "forged", path, name)
            if name != MANIFEST:  # hashes that fit, as a forger would write them
                told = json.loads((place / MANIFEST).read_text())
                told["files"][name] = {
                    "bytes": path.stat().st_size,
                    "sha256": hash_file(place / name),
                }
                (place / MANIFEST).write_text(json.dumps(told))
            open_bundle(place).recommend()

        return read

    escaping = json.loads((good / MANIFEST).read_text())
    escaping["files"]["../../../../etc/passwd"] = {"bytes": 1, "sha256": "0"}
    huge = json.loads((good / "model.json").read_text())
    huge["config"]["model"]["dim"] = 2**20
    deep = json.loads((good / "model.json").read_text())
    deep["config"]["model"]["layers"] = 10**6
    hostile = {
        MANIFEST: [_lines(escaping), b"[" * 200_000],
        "model.json": [_lines(huge), _lines(deep), b"[" * 200_000],
    }
    found = []
    for path in sorted(good.iterdir()):
        content = path.read_bytes()
        variants = (
            _variants(content)
            if path.suffix == ".parquet"
            else _reshaped(content)
            if path.suffix == ".safetensors"
            else []
        )
        found.append(
            Target(
                f"bundle, {path.name}",
                path.suffix,
                bundle(path.name),
                [content, *variants],
                hostile.get(path.name, []),
            )
        )
    return found


def _theory() -> list[Target]:
    from theory.errors import PremiseError
    from theory.estimators import estimate
    from theory.npz import read_arrays

    def read(path: Path) -> None:
        arrays = read_arrays(path, ("x", "y"), ("x", "y", "cond"))
        estimate(arrays["x"], arrays["y"], cond=arrays.get("cond"), seed=0)

    x = np.arange(12.0)
    numbers = {"x": x, "y": x**2}
    kinds: list[dict[str, Any]] = [
        numbers,
        {"x": np.arange(12) % 3, "y": np.arange(12) % 2, "cond": np.arange(12) % 2},
        *({**numbers, "x": made} for made in (
            np.array(0.0), np.array([]), np.array([np.nan] * 12), np.array(["a"] * 12),
            x.astype(complex), x.astype(bool),
            np.zeros((12, 0)), np.zeros((12, 2, 2)), np.array([2**63] * 12, np.uint64),
            x.astype("datetime64[s]"),
            np.zeros(12, [("a", float)]), np.full(12, 1e308), np.arange(12) - 2**62,
            x.astype(np.float16), np.array([1.0]),
        )),
    ]  # fmt: skip
    bomb, objects = io.BytesIO(), io.BytesIO()
    np.savez_compressed(bomb, x=np.zeros(40_000_000), y=np.zeros(1))
    np.savez(objects, x=np.array([print], object), y=x)
    return [
        Target(
            "theory .npz",
            ".npz",
            read,
            [_npz(one) for one in kinds],
            [bomb.getvalue(), objects.getvalue()],
            (PremiseError,),
        )
    ]


def _lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _literals(*rows: Any) -> bytes:
    return "".join(repr(row) + "\n" for row in rows).encode()


def _packed(*rows: Any) -> bytes:
    return gzip.compress(_lines(*rows))


def _npz(arrays: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def _variants(content: bytes) -> list[bytes]:
    """The same table with each column in turn of another type, empty, with nulls, twice, or away;
    well-formed, and wrong."""
    table = pq.read_table(pa.BufferReader(content))
    rows, found = table.num_rows, [_parquet(table.slice(0, 0))]
    others = [
        pa.nulls(rows),
        pa.array([None, *[1] * (rows - 1)], pa.int64()),
        pa.array([0] * rows, pa.timestamp("ns")),
        *(
            pa.array([value] * rows)
            for value in (-1, 2**63 - 1, float("nan"), "é", b"\xff", True, [["x"]], [None, "x"])
        ),
        pa.array([{"role": None, "texts": None}] * rows),
    ]
    for place, name in enumerate(table.column_names):
        found += [_parquet(table.set_column(place, name, other)) for other in others]
        found.append(_parquet(table.drop_columns([name])) if table.num_columns > 1 else found[0])
        found.append(_parquet(table.append_column(name, table[place])))
    return found


def _reshaped(content: bytes) -> list[bytes]:
    """The same arrays with each in turn of another type, other numbers, cut, or away; well-formed,
    and wrong."""
    from safetensors.numpy import load, save

    arrays, found = load(content), []
    for name, array in arrays.items():
        others = [
            array[:-1] if array.ndim else array,
            array.reshape(-1),
            array[None],
            array.astype(np.float64),
            array.astype(np.int8),
        ]
        others += [
            np.zeros_like(array),
            np.full_like(array, 100),
            -np.abs(array) - 1 if array.dtype.kind in "if" else array,
        ]
        found += [save({**arrays, name: np.ascontiguousarray(other)}) for other in others]
        found.append(save({other: kept for other, kept in arrays.items() if other != name}))
        if len(found) > 120:
            break
    return found


def _forged(good: Path, place: Path, content: Path, name: str) -> Path:
    """A copy of the folder `good` at `place`, in which the file `name` is that of `content`."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(good, place)
    shutil.copy(content, place / name)
    return place
