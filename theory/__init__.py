"""Theory of structured against collapsed representations; arrays only, independent of scoter.

STATEMENTS.md has the proofs, `theory.bounds` the bounds, `theory.exact` solvable models,
`theory.verify` a check of every statement, `theory.estimate` information from samples."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theory.estimators import MIResult, estimate, order_test, shuffle_contrast

__all__ = ["MIResult", "estimate", "order_test", "shuffle_contrast"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # scipy loads only when asked for
        from theory import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'theory' has no attribute {name!r}")
