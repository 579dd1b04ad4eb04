"""scoter: structured chain-of-thought transfer for recommendation, with theory and benchmarks.

Names load when they are first used, so that `import scoter` takes milliseconds.
"""

import importlib
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

__version__ = "1.0.0"

_MODULES = {
    "scoter.data.datasets": "load_dataset Dataset register_dataset",
    "scoter.recommenders.patterns": "discover write_chains load_chains",
    "scoter.recommenders.chains": "Chains",
    "scoter.types": "ReasoningPattern Step",
    "scoter.recommenders.estimators": "SCoTER TIGER SASRec GRU4Rec Popularity load",
    "scoter.evaluation.evaluate": "evaluate compare Evaluation",
    "scoter.evaluation.evaluator": "Evaluator",
    "scoter.runs": "run Run",
    "scoter.experiments": "experiment",
    "scoter.plugins": "register_backbone register_fusion",
    "scoter.reasoning.language.registry": "register_language_model",
    "scoter.transfer.fusion": "StructuredFusion",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]

# Names of the version before: where they are now, and what to use instead.
_INSTEAD = "the network; scoter.TIGER fits and recommends"
_GONE = {"Tiger": ("scoter.models.backbones.tiger", _INSTEAD)}


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
