"""Bounds of STATEMENTS.md as functions, in nats. A failed premise raises PremiseError."""

from theory.bounds.certificates import (
    CrossEntropyCertificate,
    GainCertificate,
    certify_cross_entropy,
    certify_gain,
    certify_information,
    certify_scores,
)
from theory.bounds.crossover import (
    gaussian_crossover,
    least_squares_risk,
    table_crossover,
    table_excess,
    table_guarantee,
)
from theory.bounds.finite_samples import (
    clopper_pearson,
    learned_share,
    linear_reader_deviation,
    ordered_table_loses,
    paired_ndcg_interval,
    paired_recall_interval,
    recall_deviation,
    rows_for_gain,
    table_excess_floor,
    table_regret,
    table_regret_floor,
)
from theory.bounds.gain_cap import (
    Ceiling,
    binary_kl,
    certified_information,
    pinsker_gain,
    recall_cap,
    recall_ceiling,
)
from theory.bounds.generalisation import conditional_information_bound, rows_for_gap, xu_raginsky
from theory.bounds.list_bounds import (
    binary_entropy,
    fano_ceiling,
    fano_entropy,
    hellman_raviv_constant,
    list_envelope,
    recall_ceiling_weak,
    recall_floor,
)
from theory.bounds.list_floor import list_rate_floor, ndcg_rate_floor
from theory.bounds.list_rate import list_rate, list_rate_ceiling, ndcg_rate_ceiling
from theory.bounds.ndcg import ndcg_ceiling, ndcg_floor, ndcg_from_recalls, ndcg_weights
from theory.bounds.registry import REGISTERED, TAKEN, register_bound
from theory.bounds.selection import (
    best_of_n_gain,
    best_of_n_kl,
    noisy_verifier_gain,
    selection_optimism,
    selection_optimism_by_entropy,
)
from theory.bounds.strict_gain import (
    margin_gain_cap,
    ndcg_gain,
    pair_gain_floor,
    reader_regret,
    strict_gain,
)

__all__ = [  # noqa: RUF022
    "Ceiling", "CrossEntropyCertificate", "GainCertificate", "REGISTERED", "register_bound",
    "binary_entropy", "binary_kl", "fano_ceiling", "fano_entropy", "list_envelope",
    "hellman_raviv_constant", "recall_ceiling", "recall_ceiling_weak", "recall_floor",
    "recall_cap", "pinsker_gain",
    "list_rate", "list_rate_ceiling", "list_rate_floor", "ndcg_rate_ceiling", "ndcg_rate_floor",
    "ndcg_ceiling", "ndcg_floor", "ndcg_from_recalls", "ndcg_weights",
    "strict_gain", "ndcg_gain", "margin_gain_cap", "pair_gain_floor", "reader_regret",
    "certified_information", "certify_cross_entropy", "certify_gain", "certify_information",
    "certify_scores", "clopper_pearson", "recall_deviation", "linear_reader_deviation",
    "paired_recall_interval", "paired_ndcg_interval",
    "gaussian_crossover", "least_squares_risk", "table_crossover", "table_excess",
    "table_excess_floor", "table_guarantee", "table_regret", "table_regret_floor",
    "ordered_table_loses", "rows_for_gain", "learned_share",
    "xu_raginsky", "conditional_information_bound", "rows_for_gap",
    "best_of_n_gain", "best_of_n_kl", "noisy_verifier_gain", "selection_optimism",
    "selection_optimism_by_entropy",
]  # fmt: skip

TAKEN.update(__all__)
