"""scoter: structured chain-of-thought transfer for recommendation, with theory and benchmarks.

Names load when they are first used, so that `import scoter` takes milliseconds.
"""

import importlib
import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scoter.data.datasets import Dataset, load_dataset, register_dataset
    from scoter.evaluation.evaluate import Evaluation, compare, evaluate
    from scoter.evaluation.evaluator import Evaluator
    from scoter.experiments import experiment
    from scoter.models.backbones.registry import register_backbone
    from scoter.pipeline import run
    from scoter.recommenders.chains import Chains
    from scoter.recommenders.estimators import TIGER, GRU4Rec, Popularity, SASRec, SCoTER, load
    from scoter.recommenders.patterns import discover, load_chains, write_chains
    from scoter.transfer.fusion import StructuredFusion
    from scoter.types import ReasoningPattern, Step

__version__ = "0.1.0"

# Batches come in many shapes, and oneDNN keeps 1,024 compiled kernels unless told otherwise: after
# three times forty batches of Beauty that is 2.1 GiB instead of 1.3, and it goes on growing. Read
# when torch compiles its first kernel.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

_PUBLIC = {
    "scoter.data.datasets": ("Dataset", "load_dataset", "register_dataset"),
    "scoter.evaluation.evaluate": ("Evaluation", "compare", "evaluate"),
    "scoter.evaluation.evaluator": ("Evaluator",),
    "scoter.experiments": ("experiment",),
    "scoter.models.backbones.registry": ("register_backbone",),
    "scoter.pipeline": ("run",),
    "scoter.recommenders.chains": ("Chains",),
    "scoter.recommenders.estimators": (
        "TIGER",
        "SASRec",
        "GRU4Rec",
        "Popularity",
        "SCoTER",
        "load",
    ),
    "scoter.recommenders.patterns": ("discover", "load_chains", "write_chains"),
    "scoter.transfer.fusion": ("StructuredFusion",),
    "scoter.types": ("ReasoningPattern", "Step"),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = [  # noqa: RUF022
    "load_dataset", "Dataset", "discover", "write_chains", "load_chains", "Chains",
    "ReasoningPattern", "Step", "SCoTER", "TIGER", "SASRec", "GRU4Rec", "Popularity",
    "evaluate", "compare", "Evaluation", "Evaluator", "load", "run", "experiment",
    "register_backbone", "register_dataset", "StructuredFusion",
]  # fmt: skip


_GONE = {
    "Tiger": ("scoter.models.backbones.tiger", "the network; scoter.TIGER fits and recommends")
}
"""Names of the version before, where they are now, and what to use."""


def __getattr__(name: str) -> object:
    if name in _GONE:
        module, told = _GONE[name]
        warnings.warn(f"scoter.{name} is {module}.{name} now: {told}", FutureWarning, stacklevel=2)
        return getattr(importlib.import_module(module), name)
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(
        f"module 'scoter' has no attribute {name!r}; it offers {', '.join(__all__)}"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
