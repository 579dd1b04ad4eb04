"""What every estimator returns, with a certificate of what it bounds."""

from dataclasses import dataclass, field
from typing import Any, Literal

Certificate = Literal["exact", "lower", "upper", "none"]


@dataclass(frozen=True)
class MIResult:
    """An estimate of I(X;Y|C) in nats.

    ci: approximate confidence interval of the estimate's own mean over rows; it knows nothing of
    bias. certificate: "exact" (no error), "lower" or "upper" (the expectation lies on that side of
    the truth), "none". diagnostics: the estimator's name, rows, and what it flags.
    """

    value: float
    ci: tuple[float, float]
    certificate: Certificate
    diagnostics: dict[str, Any] = field(default_factory=dict)
