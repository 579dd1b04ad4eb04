"""Error, time and coverage of every registered estimator on laws whose information is known.

`results/estimators.json` has one row for each law, number of rows, estimator and seed: the forty
laws of `battery.py`, and labels and letters. Truths are closed forms or quadrature. `repeats` has
how often a 95 % interval holds the truth (400 rows, two normals, independent or of correlation .2,
200 draws), and how often a certified lower bound exceeds it (400 draws of 200, 400 and 800 rows).
Both are written as they are made, so that a run that was cut off goes on where it stopped. Where an
estimator refuses the data, the row holds the reason and no value.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from operator import itemgetter
from pathlib import Path

import click
import numpy as np
from scipy.integrate import quad

from benchmarks.studies import study
from benchmarks.studies.battery import Generator, Law, Pair, pairs, tasks
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from benchmarks.tables.estimators_page import FILE, page
from scoter.storage.store import git_commit
from theory.errors import PremiseError
from theory.estimators import ESTIMATORS, MIResult, estimate
from theory.estimators.entropies import ENTROPIES
from theory.estimators.learned import LEARNED
from theory.estimators.variational import VARIATIONAL
from theory.exact import OrderChannel, mutual_information

SIZES = (5000,)
COVERED = ("gaussian", "gaussian_copula", "student_copula", "ksg_1", "ksg_2", "mixed_ksg", "ross")
SEEDS = (0, 1, 2)  # of estimators that learn
PEERS = ("npeet", "scikit_learn")
BMI = {
    "bmi_cca": "CCAMutualInformationEstimator()",
    "bmi_infonce": "InfoNCEEstimator(verbose=False)",
    "bmi_ksg": "KSGEnsembleFirstEstimator(neighborhoods=(4,))",
}
_BMI = """\
import sys
import numpy as np
from bmi import estimators
given = np.load(sys.argv[1])
print(float(estimators.{}.estimate(given["x"], given["y"])))
"""

_PYTHON = click.Path(exists=True, dir_okay=False)
Cell = tuple[str, int, str, int]  # law, rows, estimator, seed
Repeat = tuple[str, str, int]  # estimator, law, rows


def laws() -> dict[str, Law]:
    """All laws by name."""
    labelled = ("continuous", "discrete")
    return tasks() | {
        "labels to normal 1": Law(*labelled, _labels_truth(), _labels),
        "labels to uniform": Law(*labelled, _overlap_truth(5, 2), partial(_overlap, 5, 2)),
        "order channel, ordered": _channel("ordered"),
        "order channel, multiset": _channel("multiset"),
        "independent letters": Law("discrete", "discrete", 0.0, _letters),
    }


def cells(sizes: Sequence[int] = SIZES) -> Iterator[Cell]:
    """The cells whose estimator reads such data: the default first, what learns last and thrice."""
    learn, every = {*VARIATIONAL, *LEARNED}, laws()
    slow = learn | {"usable_information", "token_choice"}
    names = sorted(ESTIMATORS, key=lambda name: (name != "automatic", name in slow, name))
    for seed, name in product(SEEDS, names):
        reads = ESTIMATORS[name]
        for law, known in every.items() if seed == 0 or name in learn else ():
            if reads.x_kind in ("any", known.x_kind) and reads.y_kind in ("any", known.y_kind):
                yield from ((law, n, name, seed) for n in sizes)


def peer_cells(names: Sequence[str], sizes: Sequence[int] = SIZES) -> Iterator[Cell]:
    """The cells of other packages, on the same samples."""
    for name in names:
        for law in tasks():
            if name != "scikit_learn" or "1 x 1" in law or "noise" in law:
                yield from ((law, n, name, 0) for n in sizes)


def repeats() -> Iterator[tuple[Repeat, int]]:
    """What is drawn again and again, and how often."""
    for law in ("independent", "weak"):
        yield from (((name, law, 400), 200) for name in (*COVERED, *ENTROPIES))
        yield ("automatic", law, 300), 200
    lower = [name for name, known in ESTIMATORS.items() if known.certificate == "lower"]
    for name in sorted(lower, key=lambda name: (name in VARIATIONAL, name)):
        yield from (((name, "weak", n), 400) for n in (200, 400, 800))


def measure(
    results: Path = RESULTS,
    budget: float = 1500.0,
    sizes: Sequence[int] = SIZES,
    only: Sequence[str] = (),
    peers: bool = False,
    bmi_python: str = "",
) -> Row:
    """Measure what is missing for `budget` CPU-seconds; all of it, and how much is missing."""
    path, began, every, commit = results / FILE, cpu_seconds(), laws(), git_commit()
    made = study.read(path, {"unit": "nats", "rows": [], "repeats": []})
    key = itemgetter("law", "n", "estimator", "seed")
    others = (*(PEERS if peers else ()), *(BMI if bmi_python else ()))
    asked = (*cells(sizes), *peer_cells(others, sizes))
    wanted = [cell for cell in asked if not only or cell[2] in only]
    again = [pair for pair in repeats() if not only or pair[0][0] in only]
    done = set(map(key, made["rows"]))
    drawn = {(r["estimator"], r["law"], r["n"]): r["draws"] for r in made["repeats"]}
    jobs: list[tuple[str, Callable[[], Row]]] = [
        ("rows", partial(measure_cell, every[cell[0]], *cell, bmi_python))
        for cell in wanted
        if cell not in done
    ]
    jobs += [("repeats", partial(measure_repeat, *p)) for p in again if drawn.get(p[0], 0) < p[1]]
    missing = len(jobs)
    for kind, job in jobs:
        if cpu_seconds() - began > budget:
            break
        made[kind].append({**job(), "commit": commit})
        missing -= 1
        study.write(path, made, indent=0)
    return {**made, "missing": missing}


def cpu_seconds() -> float:
    """Of this process and of those that it has run."""
    return sum(os.times()[:4])


def measure_cell(
    law: Law, name: str, n: int, estimator: str, seed: int, bmi_python: str = ""
) -> Row:
    """Value, interval, certificate, error against the truth and CPU-seconds of one cell."""
    row: Row = {"law": name, "n": n, "estimator": estimator, "seed": seed, "truth": law.truth}
    x, y = law.sample(n, np.random.default_rng([seed, n]))
    began = cpu_seconds()
    try:
        if estimator in BMI:
            result = _bmi(bmi_python, estimator, x, y)
        elif estimator in PEERS:
            result = _peer(estimator, x, y)
        else:
            result = estimate(x, y, seed=seed, estimator=estimator)
    except PremiseError as error:
        return {**row, "refused": str(error)}
    spent = cpu_seconds() - began
    low, high = result.ci or (None, None)
    return {
        **row,
        "value": result.value,
        "low": low,
        "high": high,
        "error": result.value - law.truth,
        "certificate": result.certificate,
        "lower_bound_above_truth": result.certificate == "lower" and (low or 0) > law.truth,
        "flags": result.flags,
        "families": result.diagnostics.get("families"),
        "cpu_seconds": spent,
    }


def measure_repeat(which: Repeat, draws: int) -> Row:
    """How often the interval has the truth within it, and above its lower end."""
    name, law, n = which
    known = _repeated(ESTIMATORS[name].x_kind, ESTIMATORS[name].y_kind, law)
    began, within, below, widths = cpu_seconds(), 0, 0, []
    for draw in range(draws):
        x, y = known.sample(n, np.random.default_rng([draw, n, 99]))
        low, high = estimate(x, y, seed=draw, estimator=name).ci or (-np.inf, np.inf)
        within += low <= known.truth <= high
        below += low <= known.truth
        widths.append(high - low)
    row: Row = {"estimator": name, "law": law, "n": n, "draws": draws, "truth": known.truth}
    spent = cpu_seconds() - began
    row |= {"within": within / draws, "lower_end_above": 1 - below / draws, "cpu_seconds": spent}
    return {**row, "certificate": ESTIMATORS[name].certificate, "width": float(np.median(widths))}


def _repeated(x_kind: str, y_kind: str, law: str) -> Law:
    r = {"independent": 0.0, "weak": 0.2}[law]
    if y_kind != "discrete":
        return pairs(1, 1, r)
    table = np.full((4, 4), (1 - r) / 16) + r / 4 * np.eye(4)
    letters = Law("discrete", "discrete", mutual_information(table), partial(_kept, r))
    if x_kind == "discrete":
        return letters
    shift = {"independent": 0.0, "weak": 0.3}[law]
    return Law("continuous", "discrete", _labels_truth(shift), partial(_labels, shift=shift))


def _kept(r: float, n: int, rng: Generator) -> Pair:
    x, other = rng.integers(4, size=(2, n))
    return x, np.where(rng.random(n) < r, x, other)


def _peer(name: str, x: np.ndarray, y: np.ndarray) -> MIResult:
    """An estimate by NPEET's or scikit-learn's own k-NN, with as many neighbours as ours."""
    if name == "npeet":
        import npeet_plus  # pyright: ignore[reportMissingImports]

        value = npeet_plus.mi(x, y, k=4, base=np.e)
    else:
        from sklearn.feature_selection import mutual_info_regression

        value = mutual_info_regression(x, y[:, 0], n_neighbors=4, random_state=0)[0]
    return MIResult(float(value), None, "none")


def _bmi(python: str, name: str, x: np.ndarray, y: np.ndarray) -> MIResult:
    """An estimate by bmi (Czyz et al. 2023), which needs an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "given.npz")
        np.savez(path, x=x, y=y)
        command = [python, "-I", "-c", _BMI.format(BMI[name]), path]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return MIResult(float(said), None, "none")


def _letters(n: int, rng: Generator) -> Pair:
    return rng.integers(8, size=n), rng.integers(8, size=n)


def _labels(n: int, rng: Generator, shift: float = 1.0) -> Pair:
    y = rng.integers(2, size=n)
    return (shift * (2.0 * y - 1) + rng.standard_normal(n))[:, None], y


def _labels_truth(shift: float = 1.0) -> float:
    def integrand(t: float) -> float:
        density = np.exp(-((t - shift) ** 2) / 2) / np.sqrt(2 * np.pi)
        return density * (np.log(2) - np.log1p(np.exp(-2 * shift * t)))

    return float(quad(integrand, -9, 11)[0])


def _overlap(labels: int, width: int, n: int, rng: Generator) -> Pair:
    y = rng.integers(labels, size=n)
    return (y + width * rng.random(n))[:, None], y


def _overlap_truth(labels: int, width: int) -> float:
    """On each unit cell the labels that reach it are equally likely."""
    lows, places = np.arange(labels), np.arange(labels + width - 1)[:, None]
    reaching = ((lows <= places) & (places < lows + width)).sum(axis=1)
    return float(np.log(labels) - (reaching / (labels * width)) @ np.log(reaching))


def _channel(view: str) -> Law:
    model = OrderChannel(3, 3, 6, order_weight=0.6, noise=0.2, seed=4)
    labels = model.labels(view)

    def sample(n: int, rng: Generator) -> Pair:
        z, y = model.sample(n, seed=int(rng.integers(2**31)))
        return labels[z @ 3 ** np.arange(2, -1, -1)], y

    return Law("discrete", "discrete", mutual_information(model.joint(view)), sample)


@click.command()
@study.option("--budget", default=1500.0, help="CPU-seconds; the next call goes on from there.")
@click.option("--estimator", "only", multiple=True, help="Only this one; repeatable.")
@click.option("--peers", is_flag=True, help="Also NPEET (npeet-plus) and scikit-learn.")
@click.option("--bmi-python", type=_PYTHON, help="Also bmi: a Python that has it.")
@study.results_option
def command(
    budget: float, only: tuple[str, ...], peers: bool, bmi_python: str | None, results: Path
) -> None:
    measured = measure(results, budget, only=only, peers=peers, bmi_python=bmi_python or "")
    missing = measured["missing"]
    click.echo(page(measured).markdown(), nl=False)
    click.echo(f"{missing} cells are still to be measured" if missing else "every cell is measured")
