"""Theory of structured against collapsed representations; arrays only, independent of scoter.

STATEMENTS.md has the proofs, `theory.bounds` the bounds, `theory.exact` solvable models,
`theory.verify` a check of every statement, `theory.estimate` information from samples.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from theory import bounds, estimators, exact, verify
    from theory.bounds import register_bound
    from theory.estimators import (
        MIResult,
        estimate,
        order_test,
        register_estimator,
        shuffle_contrast,
    )

_FOLDERS = ("bounds", "estimators", "exact", "verify")
__all__ = [  # noqa: RUF022
    "bounds", "estimators", "exact", "verify", "estimate", "MIResult", "order_test",
    "shuffle_contrast", "register_bound", "register_estimator",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Folders and names load when first used, so that `import theory` takes milliseconds."""
    if name in _FOLDERS:
        return import_module(f"theory.{name}")
    if name in __all__:
        home = "theory.bounds" if name == "register_bound" else "theory.estimators"
        return getattr(import_module(home), name)
    raise AttributeError(f"module 'theory' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
