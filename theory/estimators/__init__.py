"""Estimators of information from samples, in nats, each with the certificate that it deserves."""

from theory.estimators.answer import Answer
from theory.estimators.copula import gaussian_information
from theory.estimators.nearest_neighbour import ksg, mixed_ksg
from theory.estimators.order import (
    IndependenceTest,
    OrderTest,
    ShuffleContrast,
    independence_test,
    order_test,
    shuffle_contrast,
)
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
    "Answer",
    "Certificate",
    "Estimator",
    "IndependenceTest",
    "MIResult",
    "OrderTest",
    "ShuffleContrast",
    "estimate",
    "gaussian_information",
    "independence_test",
    "ksg",
    "mixed_ksg",
    "order_test",
    "register_estimator",
    "shuffle_contrast",
]
