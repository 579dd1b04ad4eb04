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
    from scoter.plugins import register_backbone, register_fusion
    from scoter.reasoning.language.registry import register_language_model
    from scoter.recommenders.chains import Chains
    from scoter.recommenders.estimators import TIGER, GRU4Rec, Popularity, SASRec, SCoTER, load
    from scoter.recommenders.patterns import discover, load_chains, write_chains
    from scoter.runs import Run, run
    from scoter.transfer.fusion import StructuredFusion
    from scoter.types import ReasoningPattern, Step

__version__ = "0.1.0"

# Batches come in many shapes, and oneDNN keeps 1,024 compiled kernels unless told otherwise: after
# three times forty batches of Beauty that is 2.1 GiB instead of 1.3. Read when torch compiles its
# first kernel.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

_HOME = {
    "load_dataset": "scoter.data.datasets",
    "Dataset": "scoter.data.datasets",
    "discover": "scoter.recommenders.patterns",
    "write_chains": "scoter.recommenders.patterns",
    "load_chains": "scoter.recommenders.patterns",
    "Chains": "scoter.recommenders.chains",
    "ReasoningPattern": "scoter.types",
    "Step": "scoter.types",
    "SCoTER": "scoter.recommenders.estimators",
    "TIGER": "scoter.recommenders.estimators",
    "SASRec": "scoter.recommenders.estimators",
    "GRU4Rec": "scoter.recommenders.estimators",
    "Popularity": "scoter.recommenders.estimators",
    "load": "scoter.recommenders.estimators",
    "evaluate": "scoter.evaluation.evaluate",
    "compare": "scoter.evaluation.evaluate",
    "Evaluation": "scoter.evaluation.evaluate",
    "Evaluator": "scoter.evaluation.evaluator",
    "run": "scoter.runs",
    "Run": "scoter.runs",
    "experiment": "scoter.experiments",
    "register_backbone": "scoter.plugins",
    "register_dataset": "scoter.data.datasets",
    "register_fusion": "scoter.plugins",
    "register_language_model": "scoter.reasoning.language.registry",
    "StructuredFusion": "scoter.transfer.fusion",
}
__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]

# Names of the version before: where they are now, and what to use instead.
_GONE = {
    "Tiger": ("scoter.models.backbones.tiger", "the network; scoter.TIGER fits and recommends")
}


def __getattr__(name: str) -> object:
    if name in _GONE:
        module, instead = _GONE[name]
        line = f"scoter.{name} is {module}.{name} now: {instead}"
        warnings.warn(line, FutureWarning, stacklevel=2)
        return getattr(importlib.import_module(module), name)
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    known = ", ".join(__all__)
    raise AttributeError(f"module 'scoter' has no attribute {name!r}; it offers {known}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
