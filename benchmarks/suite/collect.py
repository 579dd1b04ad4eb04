"""Finished runs to the small committed files that every table and figure is made from.

`results/main.parquet` holds one row for each dataset, method, seed, split and metric;
`results/ranks/` holds the rank of every user's target, from which intervals are made. Collecting a
method again replaces its rows.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from benchmarks.suite.cells import table_of
from benchmarks.suite.recipes import TODAY, origin_of_chains, reads_chains
from scoter.config import SimulatedConfig
from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics, save_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.storage.run_files import POINTS_FILE, RUN_FILE, run_at
from scoter.storage.writing import replacing
from scoter.types import UserMetrics

RESULTS = Path(__file__).parents[1] / "results"
SPLITS = ("valid", "test")
KEY = ("dataset", "method", "seed", "split", "metric")
_NUMBERS = {"seed": "int64", "value": "float64", "epochs": "int64"}
_NUMBERS |= {"cpu_hours": "float64", "peak_mib": "float64"}
COLUMNS = (*KEY, "value", "epochs", "cpu_hours", "peak_mib", "run", "commit", "config", "versions")

Row = Mapping[str, Any]
_NAME = re.compile(r"[a-z0-9][a-z0-9_@.+-]*")
_CLEAN_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def collect(run: Path | str, results: Path | str = RESULTS) -> pd.DataFrame:
    """Put the folder of a finished run into `results`, and return its rows.

    Rows and ranks of the same dataset, method and seed are replaced. `config` and `versions` are
    JSON text; `cpu_hours` and `peak_mib` (MiB) are those of training, NaN where there is none.

    Raises:
        DataError: a dirty or unknown commit, no seed, a run that failed or was made from a sample
            of the users, or a metric that differs from the run's ranks. Nothing is written then.
    """
    folder, out = Path(run), Path(results)
    rows = _rows_of_run(folder)
    _check_rows(rows)
    groups = {_group(row) for row in rows}
    ranks = {name: _ranks_of_run(folder, name, rows) for _, name, _ in groups}
    (out / "ranks").mkdir(parents=True, exist_ok=True)
    with FileLock(out / "main.lock"):
        for dataset, method, seed in groups:
            for split in SPLITS:
                path = ranks_path(out, dataset, method, seed, split)
                path.unlink(missing_ok=True)
                if split in ranks[method]:
                    save_user_metrics(ranks[method][split], path)
        before = load_rows(out) if (out / "main.parquet").exists() else []
        kept = [row for row in before if _group(row) not in groups]
        _keep_mined(folder, groups, out)
        merged = sorted([*kept, *rows], key=lambda row: tuple(row[name] for name in KEY))
        with replacing(out / "main.parquet") as partial:
            _frame(merged).to_parquet(partial, index=False, compression="zstd")
    return _frame(rows)


def patterns_path(results: Path | str, dataset: str, seed: int) -> Path:
    """Where what discovery found on a dataset with a seed lies."""
    return Path(results) / "patterns" / f"{dataset}-s{seed}.json"


def _keep_mined(folder: Path, groups: set[tuple[str, str, int]], results: Path) -> None:
    """Keeps a run's mined pattern with its rivals, and where the tried ones lie in the picture."""
    run = json.loads((folder / RUN_FILE).read_text())
    mined = run.get("pattern") or {}
    if not mined.get("recommender"):  # which a pattern has that was mined by what it adds
        return
    clusters = [
        {**cluster, "patterns": cluster["patterns"][:1], "gains": cluster["gains"][:1]}
        for cluster in mined["clusters"]
    ]
    points = json.loads((folder / POINTS_FILE).read_text())
    places = [{name: point[name] for name in ("x", "y", "cluster", "gain")} for point in points]
    kept = {"commit": run["commit"], "run_seed": run["seed"], **mined, "clusters": clusters}
    kept["points"] = places
    for dataset, _, seed in groups:
        path = patterns_path(results, dataset, seed)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept, indent=1) + "\n")


def check_commit(commit: object) -> None:
    """Refuse a commit that is not a clean one: nobody could make its numbers again."""
    if not isinstance(commit, str) or not _CLEAN_COMMIT.fullmatch(commit):
        remedy = "commit your changes and run again from there"
        raise DataError(f"commit = {commit!r} is not a clean commit; {remedy}")


def load_rows(results: Path | str = RESULTS) -> list[dict[str, Any]]:
    """Every collected row, sorted by `KEY`; a `DataError` where nothing was collected."""
    path = Path(results) / "main.parquet"
    if not path.exists():
        remedy = "collect a finished run first: python -m benchmarks collect RUN_FOLDER"
        raise DataError(f"there is no {path}; {remedy}")
    state = path.stat()
    return [dict(row) for row in _rows_of(path, state.st_mtime_ns, state.st_size)]


@lru_cache(maxsize=4)
def _rows_of(path: Path, changed: int, size: int) -> list[dict[str, Any]]:
    """The rows of a file that has not changed since: tables ask for them a hundred times."""
    rows = pd.read_parquet(path).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def ranks_path(results: Path | str, dataset: str, method: str, seed: int, split: str) -> Path:
    """Where the ranks of one method, seed and split lie."""
    return Path(results) / "ranks" / f"{dataset}-{method}-s{seed}-{split}.parquet"


def dataset_of(run: Row) -> str:
    """The name among the results of a `run.json`'s dataset; a simulated shop's says its lambda."""
    part = _shop_name(run) or _sample_name(run)
    return part or table_of(run.get("experiment", ""), str(run.get("dataset")))


def _splits(run: Row) -> tuple[str, ...]:
    """What a run is measured on: protocol B trains on the validation items."""
    in_b = run.get("config", {}).get("data", {}).get("protocol") == "B"
    return ("test",) if in_b else SPLITS


def gpu_of(row: Row) -> str:
    """The GPU that trained a collected row; "" for the processor, and where a row does not say."""
    device = json.loads(row["versions"]).get("device", "cpu")
    return "" if device == "cpu" else device


def _group(row: Row) -> tuple[str, str, int]:
    return row["dataset"], row["method"], row["seed"]


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame([{name: row[name] for name in COLUMNS} for row in rows]).astype(_NUMBERS)


def _rows_of_run(folder: Path) -> list[Row]:
    artefact = run_at(folder)
    run = json.loads((folder / RUN_FILE).read_text())
    if not run.get("full_data", False) and not (_shop_name(run) or _sample_name(run)):
        why = run.get("note") or "its run.json has no full_data: true"
        raise DataError(
            f"{folder} was not run on a whole dataset ({why}); collect runs on all users of a "
            "public dataset, on the simulated shop as it comes, or with stored chains"
        )
    if not run.get("methods"):
        raise DataError(f"{folder} failed: its run.json lists no methods; run it again")
    rows = []
    for method, made in run["methods"].items():
        metrics = made.get("metrics", {})
        if missing := " and ".join(split for split in _splits(run) if not metrics.get(split)):
            why = f"method {method!r} has no metrics for {missing}"
            raise DataError(f"{folder} failed: {why}; run it again")
        if "trained_at" in made:
            check_commit(made["trained_at"])
        machinery = {name: made[name] for name in ("device", "precision") if name in made}
        config = {**made["config"], **_inputs_of(run, made["config"])}
        shared = {
            "dataset": dataset_of(run),
            "seed": run.get("seed"),
            "commit": run.get("commit"),
            "run": artefact.key,
            "method": _collected_name(run, method),
            "epochs": made["epochs"],
            "cpu_hours": made.get("cpu_seconds", math.nan) / 3600,
            "peak_mib": made.get("peak_mib", math.nan),
            "config": json.dumps(config, sort_keys=True),
            "versions": json.dumps({**run.get("versions", {}), **machinery}, sort_keys=True),
        }
        rows += [
            {**shared, "split": split, "metric": metric, "value": value}
            for split in _splits(run)
            for metric, value in metrics[split].items()
        ]
    return rows


def _inputs_of(run: Row, method: Row) -> dict[str, Any]:
    config = run.get("config", {})
    inputs = {"note": run["note"]} if run.get("note") else {}
    inputs |= origin_of_chains(config | TODAY, method)
    if _reads_stored(run, method):
        stored = {"model": run["chains_model"], "note": run.get("note", "")}
        inputs["chains"] = stored | inputs.get("chains", {})
    if method.get("model", {}).get("kind") == "tiger":
        inputs["semantic_ids"] = config.get("semantic_ids")
    return inputs


def _reads_stored(run: Row, method: Row) -> bool:
    return bool(run.get("config", {}).get("chains", {}).get("source")) and reads_chains(method)


def _collected_name(run: Row, method: str) -> str:
    """A method's name among the results, followed by the model that wrote its stored chains."""
    named = "@" in method or "+" in method
    if named or not _reads_stored(run, run["methods"][method]["config"]):
        return method
    return f"{method}@{re.sub(r'[^a-z0-9_-]+', '-', run['chains_model'].lower()).strip('-')}"


def _sample_name(run: Row) -> str | None:
    """The name of a sample of users: only runs with stored chains, which are dear, may use one."""
    config = run.get("config", {})
    data, source = config.get("data", {}), config.get("chains", {}).get("source")
    if not source or not data.get("max_users") or data.get("simulated"):
        return None
    return f"{run['dataset']}-{data['max_users']}-users"


def _shop_name(run: Row) -> str | None:
    """The simulated shop's name with its lambda; None for part of a shop, or a changed one."""
    data = run.get("config", {}).get("data", {})
    shop = data.get("simulated")
    if not shop or data.get("max_users") or shop != asdict(SimulatedConfig(order=shop["order"])):
        return None
    return f"{run['dataset']}-lambda-{shop['order']:g}".replace(".", "_")


def _check_rows(rows: Sequence[Row]) -> None:
    for row in rows:
        check_commit(row["commit"])
        if not isinstance(row["seed"], int) or isinstance(row["seed"], bool):
            where = f"seed = {row['seed']!r} in run {row['run']!r}"
            raise DataError(f"{where}: a result needs its seed; run again with --seed N")
        named = {name: row[name] for name in ("dataset", "method", "split")}
        if named["split"] not in SPLITS or not all(_NAME.fullmatch(str(n)) for n in named.values()):
            rule = "names are small letters, digits and any of @ . + _ -, splits are"
            raise DataError(f"{named} will not do: {rule} {' and '.join(SPLITS)}")
        if not isinstance(row["value"], int | float) or not math.isfinite(row["value"]):
            what = f"its {row['split']} {row['metric']} is {row['value']}"
            raise DataError(f"{row['method']} failed on {row['dataset']}: {what}; run again")


def _ranks_of_run(folder: Path, method: str, rows: Sequence[Row]) -> dict[str, UserMetrics]:
    """The ranks of both splits; each metric must be what the ranks give."""
    run = json.loads((folder / RUN_FILE).read_text())
    own = next(name for name in run["methods"] if _collected_name(run, name) == method)
    files = {split: folder / "ranks" / f"{own}-{split}.parquet" for split in _splits(run)}
    ranks = {split: load_user_metrics(path) for split, path in files.items()}
    for row in rows:
        if row["method"] == method:
            again = float(per_user(ranks[row["split"]], row["metric"]).mean())
            if not math.isclose(again, row["value"], abs_tol=1e-9):
                what = f"{method}'s {row['split']} {row['metric']} is {row['value']}"
                raise DataError(f"{folder}: {what}, but its ranks give {again}; run it again")
    return ranks
