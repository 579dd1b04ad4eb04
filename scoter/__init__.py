"""scoter: structured chain-of-thought transfer for recommendation, with the theory and the benchmarks.

Heavy names load lazily, so that `import scoter` takes milliseconds.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "run": "scoter.pipeline",
    "experiment": "scoter.experiments",
    "Tiger": "scoter.models.tiger",
    "SASRec": "scoter.models.sasrec",
    "StructuredFusion": "scoter.transfer.fusion",
    "Evaluator": "scoter.evaluation.evaluator",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'scoter' has no attribute {name!r}; it offers {', '.join(__all__)}")
