"""Bounds of STATEMENTS.md as functions, in nats. A failed premise raises PremiseError."""

from theory.bounds.certificates import CrossEntropyCertificate, certify_cross_entropy
from theory.bounds.crossover import (
    gaussian_crossover,
    least_squares_risk,
    table_crossover,
    table_excess,
    table_guarantee,
)
from theory.bounds.gain_cap import binary_kl, certified_information, pinsker_gain, recall_cap
from theory.bounds.generalisation import conditional_information_bound, rows_for_gap, xu_raginsky
from theory.bounds.list_bounds import (
    binary_entropy,
    fano_entropy,
    hellman_raviv_constant,
    list_envelope,
    recall_ceiling,
    recall_ceiling_weak,
    recall_floor,
)
from theory.bounds.ndcg import ndcg_ceiling, ndcg_floor, ndcg_from_recalls, ndcg_weights
from theory.bounds.registry import REGISTERED, register_bound
from theory.bounds.selection import (
    best_of_n_gain,
    best_of_n_kl,
    noisy_verifier_gain,
    selection_optimism,
    selection_optimism_by_entropy,
)

__all__ = [
    "REGISTERED",
    "CrossEntropyCertificate",
    "best_of_n_gain",
    "best_of_n_kl",
    "binary_entropy",
    "binary_kl",
    "certified_information",
    "certify_cross_entropy",
    "conditional_information_bound",
    "fano_entropy",
    "gaussian_crossover",
    "hellman_raviv_constant",
    "least_squares_risk",
    "list_envelope",
    "ndcg_ceiling",
    "ndcg_floor",
    "ndcg_from_recalls",
    "ndcg_weights",
    "noisy_verifier_gain",
    "pinsker_gain",
    "recall_cap",
    "recall_ceiling",
    "recall_ceiling_weak",
    "recall_floor",
    "register_bound",
    "rows_for_gap",
    "selection_optimism",
    "selection_optimism_by_entropy",
    "table_crossover",
    "table_excess",
    "table_guarantee",
    "xu_raginsky",
]
