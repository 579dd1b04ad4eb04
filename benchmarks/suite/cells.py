"""The cells of the benchmark: datasets x methods x seeds, in the order in which they are run.

Every method of a table has the epochs that `scoter.experiments` gives it, times the share of its
budget. Results of a named budget have a dataset name of their own (`beauty-quarter`) and reference
arms of that budget, so that nothing is compared across budgets. Those of protocol B, under which
eSASRec was published, have one too (`beauty-b`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import ceil
from pathlib import Path

from scoter.config import ChainsConfig, DataConfig, Experiment
from scoter.data.sources import is_prepared
from scoter.errors import ConfigError
from scoter.experiments import ABLATIONS, CONTROLS, PATTERN_CONTROLS, benchmark
from scoter.types import EvaluationProtocol

DATASETS = ("beauty", "toys", "sports", "yelp")
HEADLINE = ("tiger", "tiger-meanpool", "scoter")
# Mixed scores come first: they are the row to beat, and cost nothing once TIGER is trained.
BASELINES = (
    *("control-mixed-scores", "control-mixed-reasons", "reasons-logit", "transition-graph"),
    *("item-knn", "ease", "popularity", "gru4rec", "sasrec-bce", "sasrec-ce", "sasrec-ce-scoter"),
)
SEEDS = (0, 1, 2)
# The datasets that have every control, with the steps of their chains. Toys lacks categories.
CONTROLLED = {"beauty": 14, "toys": 12}
# Who wrote the recorded chains of a dataset. `scoter@MODEL` reads these in place of the catalogue
# reasoner's, `scoter+MODEL` after them.
RECORDED = Path(__file__).parents[1] / "recorded"
MODELS = {"beauty": "qwen2.5-coder-1.5b"}
BY_MODEL = ("scoter", "tiger-meanpool", "control-item-text")  # with every seed
BY_MODEL_ONCE = ("control-votes-only", "control-shuffled", "control-other-user")
# The datasets with published results of protocol B, and what stands beside these.
IN_B = ("beauty", "sports", "toys")
METHODS_B = (
    *("tiger", "sasrec-ce", "scoter", "sasrec-ce-scoter"),
    *("reasons-logit", "transition-graph", "item-knn", "ease", "popularity"),
)


@dataclass(frozen=True)
class Budget:
    """How long every method of a table trains; `note` is printed below the table."""

    name: str = ""  # a budget with a name has tables of its own
    share: float = 1.0  # of the usual epochs, in (0, 1]

    @property
    def note(self) -> str:
        if self.share == 1:
            return ""
        return f"every method has {self.share:.3g} of the suite's usual epochs, rounded up"


QUARTER = Budget("quarter", 0.25)


@dataclass(frozen=True)
class Cell:
    """One method on one dataset with one seed."""

    dataset: str
    method: str
    seed: int
    budget: Budget = Budget()
    own: str = ""  # the class of a user's method, as package.module:Class
    protocol: EvaluationProtocol = "A"

    @property
    def table(self) -> str:
        """The dataset's name among the results."""
        name = self.data.label
        return f"{name}-{self.budget.name}" if self.budget.name else name

    @property
    def data(self) -> DataConfig:
        return DataConfig(self.dataset, protocol=self.protocol)

    @property
    def name(self) -> str:
        return f"{self.table}/{self.method}/{self.seed}"


def suite() -> list[Cell]:
    """Every cell, most valuable first.

    >>> [cell.name for cell in suite()[:4]]
    ['beauty/tiger/0', 'beauty/tiger-meanpool/0', 'beauty/scoter/0', 'toys/tiger/0']
    """
    first, *others = SEEDS
    groups = [(name, first, methods) for methods in (HEADLINE, BASELINES) for name in DATASETS]
    groups += [(name, seed, (*HEADLINE, *BASELINES)) for name in DATASETS for seed in others]
    usual = [Cell(dataset, method, seed) for dataset, seed, methods in groups for method in methods]
    usual += [Cell("beauty", method, seed) for seed in SEEDS for method in PATTERN_CONTROLS]
    controls = [
        Cell(dataset, method, first, QUARTER)
        for dataset in DATASETS
        if dataset not in CONTROLLED
        for method in (*HEADLINE, *PATTERN_CONTROLS)
    ]
    controls += [
        Cell(dataset, method, first, QUARTER)
        for dataset, steps in CONTROLLED.items()
        for method in (*HEADLINE, *CONTROLS)
        if int(method.partition("without-step-")[2] or 0) <= steps
    ]
    controls += [Cell("beauty", method, first, QUARTER) for method in ABLATIONS]
    for dataset, model in MODELS.items():
        more = [f"{name}@{model}" for name in BY_MODEL_ONCE]
        once = [f"{name}@{model}" for name in BY_MODEL] + [f"scoter+{model}", *more]
        usual += [Cell(dataset, method, first) for method in once]
        usual += [Cell(dataset, f"{m}@{model}", seed) for seed in others for m in BY_MODEL]
    in_b = [Cell(dataset, method, first, protocol="B") for dataset in IN_B for method in METHODS_B]
    return usual + controls + in_b


def requested(
    data: Path | None = None, methods: Sequence[str] = (), own: str = "", share: float = 1.0
) -> list[Cell]:
    """The cells that a command asks for: of the suite, or of the prepared folder `data`.

    The folder's name is the dataset's. Without such a folder, a user's class `own` runs on the
    suite's datasets.
    """
    if data is not None and is_prepared(data):
        dataset = re.sub(r"[^a-z0-9_-]+", "-", data.resolve().name.lower()).strip("-")
        return cells_for(dataset, methods, own, share)
    if methods or share != 1:
        needed = "--methods and --epochs-share need --data with a prepared folder of your own"
        raise ConfigError(f"{needed}; use --only for the suite")
    if not own:
        return suite()
    usual = [Cell(name, own_name(own), seed, Budget(), own) for name in DATASETS for seed in SEEDS]
    return usual + [Cell(name, own_name(own), SEEDS[0], own=own, protocol="B") for name in IN_B]


def cells_for(
    dataset: str, methods: Sequence[str] = (), own: str = "", share: float = 1.0
) -> list[Cell]:
    """The cells of one dataset: some of the suite's methods or all, and a user's class `own`."""
    usual = (*HEADLINE, *BASELINES)
    known = dict.fromkeys((*usual, *CONTROLS))
    if unknown := ",".join(name for name in methods if name not in known):
        raise ConfigError(f"--methods {unknown!r} is unknown; choose from: {', '.join(known)}")
    if not 0 < share <= 1:
        raise ConfigError(f"--epochs-share {share:g} will not do; take more than 0 and at most 1")
    named = [(name, "") for name in methods or usual] + ([(own_name(own), own)] if own else [])
    budget = Budget(share=share)
    return [Cell(dataset, name, seed, budget, cls) for seed in SEEDS for name, cls in named]


def own_name(own: str) -> str:
    """A user's method among the results: its class without the module, in small letters."""
    return own.rpartition(":")[2].lower()


def chosen(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells that match any of the patterns `dataset/method/seed`.

    Missing parts match all, and `*` is a wildcard.

    >>> [cell.name for cell in chosen(suite(), ["toys/scoter"])]
    ['toys/scoter/0', 'toys/scoter/1', 'toys/scoter/2']
    """
    kept: set[Cell] = set()
    for pattern in only:
        parts = [*pattern.split("/"), "*", "*"][: max(3, pattern.count("/") + 1)]
        matches = {cell for cell in cells if fnmatchcase(cell.name, "/".join(parts))}
        if not matches:
            remedy = "write dataset/method/seed, `--list` shows them all"
            raise ConfigError(f"--only {pattern!r} matches no cell; {remedy}")
        kept |= matches
    return [cell for cell in cells if not only or cell in kept]


def experiment_of(cell: Cell) -> Experiment:
    """The experiment of a cell: at the usual budget, that of `scoter run DATASET-METHOD`."""
    name, mark, model = [*re.split("([@+])", cell.method, maxsplit=1), "", ""][:3]
    made = benchmark(cell.dataset, name)
    if mark:
        table = RECORDED / f"{cell.dataset}-{model}.parquet"
        chains = ChainsConfig(str(table), after_reasoner=mark == "+")
        methods = {cell.method: made.methods[name]}
        made = replace(made, name=f"{cell.table}-{cell.method}", methods=methods, chains=chains)
    if cell.protocol == "B":
        made = replace(made, data=cell.data, name=f"{cell.table}-{cell.method}")
    if cell.budget.share == 1 and not cell.budget.name:
        return made
    method, share = made.methods[cell.method], cell.budget.share
    usual = method.training
    epochs, every = (ceil(share * count) for count in (usual.epochs, usual.evaluate_every))
    training = replace(usual, epochs=epochs, evaluate_every=every)
    methods = {cell.method: replace(method, training=training)}
    name = f"{cell.table}-{cell.method}"
    return replace(made, name=name, methods=methods, note=cell.budget.note)


def protocol_of(table: str) -> EvaluationProtocol:
    """The protocol of a dataset's name among the results.

    >>> protocol_of("beauty-b"), protocol_of("beauty-quarter")
    ('B', 'A')
    """
    return "B" if table in {DataConfig(name, protocol="B").label for name in IN_B} else "A"


def table_of(experiment: str, dataset: str) -> str:
    """The dataset's name among the results, from the name of an experiment.

    >>> table_of("beauty-quarter-control-bag", "beauty"), table_of("beauty-tiger", "beauty")
    ('beauty-quarter', 'beauty')
    """
    name = f"{dataset}-{QUARTER.name}"
    return name if experiment.startswith(f"{name}-") else dataset
