"""Makes one committed row again and says whether it comes close enough.

A rerun follows the recipe that is stored with the row, not today's, and leaves one JSON file: each
metric before and again, its tolerance, and where it ran. `benchmarks/results/reruns/` keeps some.
"""

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from benchmarks.studies import study
from benchmarks.suite.cells import experiment_of, suite
from benchmarks.suite.collect import RESULTS, load_rows
from benchmarks.suite.recipes import TODAY, stored_recipe
from benchmarks.tables.comparisons import METRICS
from benchmarks.tables.table import Page, Table
from benchmarks.tables.tables import place_of
from scoter.config import Experiment, from_json, to_json
from scoter.errors import DataError
from scoter.report.page import cpu_time

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
FOLDER, OTHER_DEVICES, TIMES = "reruns", "other_devices.parquet", "times.json"
SOURCES = f"main.parquet, {OTHER_DEVICES}, {FOLDER}/, {TIMES}"
SHOPS = {"simulated-lambda-1": "simulated-controls", "simulated-lambda-0": "simulated-unordered"}
PRINTED = 1e-4  # one unit of the last digit that tables print
KINDS = {
    "counted": "nothing is trained: as many digits as tables print",
    "trained": "another run on the same kind of device, in the same precision",
    "device": "fp32 on a GPU against bf16 or fp32 on a processor, or bf16 against fp32",
    "simulated": "the simulated shop, which each seed draws anew",
}

Row = dict[str, Any]


def shown(page: Path = PAGE, results: Path = RESULTS) -> list[str]:
    """The measured rows of a page's tables, one a seed, in their order."""
    tables = re.findall(r"<!-- table:([a-z0-9_-]+) -->", page.read_text(encoding="utf-8"))
    rows = [row for row in merged(results) if row["dataset"] in tables]
    rows.sort(key=lambda row: (tables.index(row["dataset"]), place_of(row["method"]), row["seed"]))
    return [row["name"] for row in rows]


def drawn(count: int, seed: int = 0) -> list[str]:
    """Rows of docs/results.md at random, without a choice of ours."""
    return random.Random(seed).sample(sorted(shown()), count)


def record(row: Row, folder: Path, cost: Row, out: Path, results: Path = RESULTS) -> Row:
    """Compare a row with the folder of its rerun, and write what was found to `out`.

    `cost` has the `cpu_hours` and `peak_mib` of the rerun.
    """
    run = json.loads((folder / "run.json").read_text())
    made = run["methods"][row["method"]]
    noted = {part: made[part] for part in ("device", "precision") if part in made}
    versions = json.dumps({**run["versions"], **noted}, sort_keys=True)
    again = {"metrics": made["metrics"]["test"], "epochs": made["epochs"], "versions": versions}
    found = compared(row, {**again, "commit": run["commit"], **cost}, tolerances(results))
    study.write(out / f"{row['name'].replace('/', '-')}.json", found)
    return found


def committed(name: str, results: Path = RESULTS) -> Row:
    """A committed row with all its test metrics, by `dataset/method/seed`."""
    for row in merged(results):
        if row["name"] == name:
            return row
    listed = "docs/reproduce.md lists them"
    raise DataError(f"ROW={name!r} is no committed row; write dataset/method/seed, {listed}")


def experiment_of_row(row: Row) -> Experiment:
    """The experiment with the recipe that is stored with a row."""
    config, dataset = json.loads(row["config"]), row["dataset"]
    if config.get("chains") or config["model"]["kind"] == "own":
        what = "chains of a language model or a method of your own, which are not kept here"
        raise DataError(
            f"ROW={row['name']} needs {what}; `python -m benchmarks run` makes new ones"
        )
    if dataset in SHOPS:
        from scoter.experiments import experiment

        usual = experiment(SHOPS[dataset])
    else:
        cells = [cell for cell in suite() if cell.table == dataset]
        usual = experiment_of(next((c for c in cells if c.method == row["method"]), cells[0]))
    recipe = {name: part for name, part in stored_recipe(config).items() if name not in TODAY}
    methods = {row["method"]: recipe.pop("method")}
    tree = {**json.loads(to_json(usual)), **recipe, "methods": methods}
    return from_json(json.dumps({**tree, "note": config.get("note", "")}), Experiment)


def check_reasons(row: Row) -> None:
    """Refuse a row whose reasons are not today's, as today's code cannot make it again."""
    recipe = stored_recipe(json.loads(row["config"]))
    if any(recipe.get(name, today) != today for name, today in TODAY.items()):
        older = f"ROW={row['name']} was made with other reasons than today's"
        raise DataError(f"{older}; check out {row['commit'][:12]} to make it again")


def compared(row: Row, again: Row, allowed: Mapping[str, Mapping[str, float]]) -> Row:
    """A row beside its rerun; `within` where every metric is within its tolerance."""
    kind, metrics = kind_of(row, again), {}
    for metric in METRICS:
        before, now = row["metrics"][metric], again["metrics"][metric]
        limit = max(PRINTED, allowed[kind][metric] * before)
        within = abs(now - before) <= limit
        metrics[metric] = {"before": before, "again": now, "tolerance": limit, "within": within}
    names = ("commit", "epochs", "cpu_hours", "peak_mib", "versions")
    sides = {side: {n: run[n] for n in names} for side, run in (("before", row), ("again", again))}
    within = all(each["within"] for each in metrics.values())
    return {"name": row["name"], "kind": kind, "within": within, "metrics": metrics, **sides}


def kind_of(row: Row, again: Row | None = None) -> str:
    """What decides the tolerance of a row, or of a row and its rerun; one of `KINDS`."""
    if not row["epochs"]:
        return "counted"
    if row["dataset"].startswith("simulated"):
        return "simulated"
    alike = again is None or machinery(row) == machinery(again)
    return "trained" if alike else "device"


def machinery(row: Row) -> tuple[str, str]:
    """The device and the precision; rows of before they were noted are of a processor."""
    versions = json.loads(row["versions"])
    return versions.get("device", "cpu"), versions.get("precision", "not noted")


def tolerances(results: Path = RESULTS) -> dict[str, dict[str, float]]:
    """For each kind and metric how far two runs may be apart, relative to the first.

    The reproducibility limit of ISO 5725: the 95 % quantile of Student's t, times the square root
    of two, times the standard deviation of runs of one recipe. What was only counted has none.
    """
    limits: dict[str, dict[str, float]] = {"counted": dict.fromkeys(map(str, METRICS), 0.0)}
    for kind in ("trained", "device", "simulated"):
        found = {metric: scatter(results, kind, metric) for metric in METRICS}
        limits[kind] = {
            metric: float(student.ppf(0.975, freedom)) * 2**0.5 * deviation
            for metric, (deviation, freedom) in found.items()
        }
    for metric in METRICS:  # another device is no smaller change than another seed
        limits["device"][metric] = max(limits["device"][metric], limits["trained"][metric])
    return limits


def scatter(results: Path, kind: str, metric: str) -> tuple[float, int]:
    """The relative standard deviation within groups of runs that should agree, and its freedom.

    Groups are the seeds of one recipe; of the kind `device`, the devices of one recipe and seed.
    """
    rows = merged(results)
    if kind == "device":
        rows += merged(results, others=True)
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        if kind_of(row) == ("trained" if kind == "device" else kind):
            recipe = json.dumps(stored_recipe(json.loads(row["config"])), sort_keys=True)
            name = row["name"] if kind == "device" else row["dataset"] + row["method"]
            groups.setdefault((name, recipe), []).append(row["metrics"][metric])
    several = [np.array(values) for values in groups.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        raise DataError(f"{results} has no recipe of the kind {kind!r} that was run twice")
    squares = sum(float(np.sum((values / values.mean() - 1) ** 2)) for values in several)
    return (squares / freedom) ** 0.5, freedom


def merged(results: Path = RESULTS, others: bool = False) -> list[Row]:
    """One row for each run, with its `name` and all its test `metrics`."""
    every = load_rows(results)
    if others:
        every = pd.read_parquet(results / OTHER_DEVICES).to_dict("records")
    found: dict[tuple[str, str], Row] = {}
    for row in every:
        if row["split"] == "test":
            name = "{dataset}/{method}/{seed}".format_map(row)
            kept = found.setdefault((name, row["run"]), {**row, "name": name, "metrics": {}})
            kept["metrics"][row["metric"]] = row["value"]
    return list(found.values())


def report(found: Row) -> Table:
    """What a rerun found, for people."""
    rows = [{"metric": metric, **each} for metric, each in found["metrics"].items()]
    return Table.of([{**row, "within": "yes" if row["within"] else "NO"} for row in rows])


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """The tolerances, what each row of docs/results.md costs, and the reruns that are kept."""
    rows = {row["name"]: row for row in merged(results)}
    kept = [study.read(path, {}) for path in sorted((results / FOLDER).glob("*.json"))]
    again = {found["name"]: found["again"] for found in kept}
    costs = [_cost(rows[name], again.get(name, {})) for name in shown(results=results)]
    heads = ("command", "trained on", "CPU time", "memory", "commit")
    compared = ("row", "before", "again", *METRICS)
    return {
        "tolerances": Page([Table(("kind", "runs beyond one", *METRICS), _limits(results))]),
        "costs": Page([Table(heads, costs, "llrrl")]),
        "times": Page([Table.of(_times(results))]),
        "reruns": Page([Table(compared, list(map(_rerun, kept)), "lllrrrr")]),
    }


def _limits(results: Path) -> list[list[str]]:
    lines = [[f"*counted*: {KINDS['counted']}", "", *[f"{PRINTED:g}"] * len(METRICS)]]
    for kind, limits in list(tolerances(results).items())[1:]:
        _, freedom = scatter(results, kind, METRICS[0])
        cells = [f"{100 * limit:.1f} %" for limit in limits.values()]
        lines.append([f"*{kind}*: {KINDS[kind]}", str(freedom), *cells])
    return lines


def _times(results: Path) -> list[dict[str, object]]:
    return [
        {
            "command": f"`{command}`",
            "CPU time": cpu_time(took["cpu_seconds"]),
            "wall time": cpu_time(took["wall_seconds"]),
            "MiB": round(took["peak_mib"]),
            "cores": took["cores"],
            "commit": f"`{took['commit'][:8]}`",
        }
        for command, took in study.read(results / TIMES, {}).items()
    ]


def _cost(row: Row, again: Row) -> list[str]:
    """Time and memory are those of training; where nothing is trained, those of a rerun."""
    source = row if row["epochs"] else again
    memory = source.get("peak_mib")
    return [
        f"`make reproduce ROW={row['name']}`",
        machinery(row)[0] if row["epochs"] else "nothing is trained",
        cpu_time(3600 * source.get("cpu_hours", 0.0)),
        f"{memory:,.0f} MiB" if memory else "",
        f"`{row['commit'][:8]}`",
    ]


def _rerun(found: Row) -> list[str]:
    sides = [
        f"{', '.join(machinery(found[side]))}, `{found[side]['commit'][:8]}`"
        for side in ("before", "again")
    ]
    cells = [
        f"{each['again']:.4f} ({each['again'] - each['before']:+.4f}"
        f"{'' if each['within'] else ', NOT WITHIN'})"
        for each in found["metrics"].values()
    ]
    return [found["name"], *sides, *cells]
