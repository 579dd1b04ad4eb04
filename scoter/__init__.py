"""scoter: structured chain-of-thought transfer for recommendation, with the theory and the
benchmarks.

Heavy names load lazily, so that `import scoter` takes milliseconds.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoter.evaluation.evaluator import Evaluator
    from scoter.experiments import experiment
    from scoter.models.backbones.sasrec import SASRec
    from scoter.models.backbones.tiger import Tiger
    from scoter.pipeline import run
    from scoter.transfer.fusion import StructuredFusion

__version__ = "0.1.0"

# Batches come in many shapes, and oneDNN keeps 1,024 compiled kernels unless told otherwise: after
# three times forty batches of Beauty that is 2.1 GiB instead of 1.3, and it goes on growing. Read
# when torch compiles its first kernel.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

_PUBLIC = {
    "run": "scoter.pipeline",
    "experiment": "scoter.experiments",
    "Tiger": "scoter.models.backbones.tiger",
    "SASRec": "scoter.models.backbones.sasrec",
    "StructuredFusion": "scoter.transfer.fusion",
    "Evaluator": "scoter.evaluation.evaluator",
}
__all__ = ["Evaluator", "SASRec", "StructuredFusion", "Tiger", "experiment", "run"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(
        f"module 'scoter' has no attribute {name!r}; it offers {', '.join(__all__)}"
    )
