"""Estimators of information from samples, in nats, each with the certificate that it deserves."""

from theory.estimators.order import OrderTest, ShuffleContrast, order_test, shuffle_contrast
from theory.estimators.registry import (
    ESTIMATORS,
    Certificate,
    Estimator,
    MIResult,
    estimate,
    register_estimator,
)

__all__ = [
    "ESTIMATORS",
    "Certificate",
    "Estimator",
    "MIResult",
    "OrderTest",
    "ShuffleContrast",
    "estimate",
    "order_test",
    "register_estimator",
    "shuffle_contrast",
]
