"""Models with known information, Bayes recall and NDCG, exact or with their error."""

from theory.exact.bottleneck import bottleneck_point
from theory.exact.enumeration import (
    bayes_ndcg,
    bayes_recall,
    conditional_entropy,
    conditional_mutual_information,
    entropy,
    merge_rows,
    mutual_information,
)
from theory.exact.gaussian_chain import GaussianChain
from theory.exact.hidden_markov import HiddenMarkovMixture
from theory.exact.measured import Measured
from theory.exact.order_channel import OrderChannel
from theory.exact.permutation_channel import PermutationChannel

__all__ = [
    "GaussianChain",
    "HiddenMarkovMixture",
    "Measured",
    "OrderChannel",
    "PermutationChannel",
    "bayes_ndcg",
    "bayes_recall",
    "bottleneck_point",
    "conditional_entropy",
    "conditional_mutual_information",
    "entropy",
    "merge_rows",
    "mutual_information",
]
