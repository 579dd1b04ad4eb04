"""The bounds against brute force, closed forms and their premises."""

import numpy as np
import pytest
from scipy.optimize import linprog, minimize_scalar
from scipy.stats import binom

from theory import bounds
from theory.bounds.finite_samples import sign_error
from theory.errors import PremiseError


@pytest.mark.parametrize(("items", "k"), [(5, 1), (8, 3), (12, 7)])
def test_floor_is_the_lower_hull_found_by_linear_programming(items, k):
    sizes = np.arange(1, items + 1)
    errors, entropies = np.maximum(1 - k / sizes, 0), np.log(sizes)
    for error in np.linspace(0.01, 1 - k / items, 7):
        least = linprog(entropies, A_eq=np.stack([errors, np.ones(items)]), b_eq=[error, 1]).fun
        assert bounds.recall_floor(least, items=items, k=k) == pytest.approx(1 - error, abs=1e-8)


@pytest.mark.parametrize(("items", "k"), [(5, 1), (12, 3), (9, 6)])
def test_ceiling_inverts_the_fano_function_and_the_weak_form_is_looser(items, k):
    for error in np.linspace(0.01, 0.9, 9) * (1 - k / items):
        entropy = float(bounds.fano_entropy(error, items=items, k=k))
        ceiling = bounds.fano_ceiling(entropy, items=items, k=k)
        assert ceiling == pytest.approx(1 - error, abs=1e-9)
        if items > 2 * k:
            assert bounds.recall_ceiling_weak(entropy, items=items, k=k) >= ceiling - 1e-12
    assert bounds.fano_ceiling(np.log(k) / 2, items=items, k=k) == 1
    assert bounds.fano_ceiling(np.log(items), items=items, k=k) == pytest.approx(
        k / items, abs=1e-6
    )


def test_weak_form_would_be_false_without_its_premise():
    items, k, entropy = (
        6,
        4,
        1.7,
    )  # M < 2k: the unguarded formula cuts off what the exact ceiling allows
    unguarded = 1 - (entropy - np.log(2) - np.log(k)) / np.log((items - k) / k)
    assert unguarded < bounds.fano_ceiling(entropy, items=items, k=k)
    with pytest.raises(PremiseError, match="needs items > 2k = 8"):
        bounds.recall_ceiling_weak(entropy, items=items, k=k)


def test_recall_cap_is_where_the_divergence_spends_the_information():
    for base, nats in ((0.0648, 4.8e-5), (0.3, 0.2), (0.9, 0.01)):
        cap = bounds.recall_cap(base, nats)
        assert float(bounds.binary_kl(cap, base)) == pytest.approx(nats, rel=1e-6)
        assert bounds.certified_information(cap, base) == pytest.approx(nats, rel=1e-6)
        assert cap - base <= bounds.pinsker_gain(nats)
    assert bounds.recall_cap(0.5, 5.0) == 1
    assert bounds.recall_cap(0.0, 0.3) < 1e-12


def test_cross_entropy_certificate_covers_at_its_confidence():
    rng, q = np.random.default_rng(0), np.array([0.7, 0.2, 0.1])
    truth, broken = float(-(q * np.log(q)).sum()), 0
    for _ in range(200):
        losses = -np.log(q[rng.choice(3, size=200, p=q)])
        found = bounds.certify_cross_entropy(
            losses, marginal_entropy=1.09, smallest_probability=0.1, items=3, k=1
        )
        broken += found.cross_entropy_upper < truth
        assert found.information_lower == max(1.09 - found.cross_entropy_upper, 0)
    assert broken / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_crossovers():
    root = bounds.gaussian_crossover(6, 2, 0.05)
    found = minimize_scalar(
        lambda n: abs((n - 3) / (n - 7) - np.exp(0.1)), bounds=(8, 200), method="bounded"
    ).x
    assert root == pytest.approx(found, abs=1e-3)
    n = bounds.table_guarantee(16, 5, 0.0497)
    assert bounds.table_excess(16, 5, n) <= 0.0497 < bounds.table_excess(16, 5, n - 1)
    with pytest.raises(PremiseError, match="use table_guarantee"):
        bounds.table_crossover(100, 20, 11, 2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.fano_ceiling(1.0, items=5, k=5), r">= 1 and <= 4"),
        (lambda: bounds.fano_ceiling(2.0, items=5, k=1), r"lies in \[0, 1.609"),
        (lambda: bounds.recall_floor(-0.1, items=5, k=1), ">= 0"),
        (lambda: bounds.recall_floor(float("nan"), items=5, k=1), ">= 0"),
        (lambda: bounds.recall_cap(1.2, 0.1), "baseline_recall = 1.2: lies in"),
        (lambda: bounds.recall_cap(0.2, -0.1), "number >= 0"),
        (lambda: bounds.certified_information(0.1, 0.2), "needs a lift over 0.2"),
        (lambda: bounds.ndcg_from_recalls([0.5, 0.4]), "do not fall"),
        (lambda: bounds.least_squares_risk(5, 4, 1.0), "n > dims"),
        (lambda: bounds.gaussian_crossover(2, 3, 0.1), "no more features"),
        (lambda: bounds.gaussian_crossover(3, 2, 0.0), "never beaten"),
        (lambda: bounds.table_guarantee(3, 2, 0.0), "nothing to win"),
        (lambda: bounds.xu_raginsky(-1.0, 5), "number >= 0"),
        (lambda: bounds.conditional_information_bound(5.0, 5), r"lies in \[0, 3.4657"),
        (lambda: bounds.rows_for_gap(10, 32, 0.0), "number > 0"),
        (lambda: bounds.selection_optimism(0, 5), r"whole number >= 1"),
        (lambda: bounds.best_of_n_kl(0), r"whole number >= 1"),
        (lambda: bounds.noisy_verifier_gain(3, 1.5), r"lies in \[-1, 1\]"),
        (
            lambda: bounds.certify_cross_entropy(
                np.full(9, -5.0), marginal_entropy=1.0, smallest_probability=0.1, items=9, k=1
            ),
            "log_losses = -5.0: a loss -log q is >= 0",
        ),
        (
            lambda: bounds.certify_cross_entropy(
                np.full(9, 5.0), marginal_entropy=1.0, smallest_probability=0.1, items=9, k=1
            ),
            "lower smallest_probability",
        ),
    ],
)
def test_a_failed_premise_is_named(call, message):
    with pytest.raises(PremiseError, match=message):
        call()


def test_the_constants_of_large_catalogues():
    assert bounds.best_of_n_kl(16) == pytest.approx(1.8351, abs=1e-4)
    assert bounds.noisy_verifier_gain(8, 0.6) == pytest.approx(0.8541, abs=1e-4)
    assert bounds.rows_for_gap(1_000_000, 32, 0.01) == pytest.approx(1.109e11, rel=1e-3)


def test_a_tiny_popularity_and_deep_splits_have_a_ceiling():
    p = np.array([0.6, 0.4 - 1e-11, 1e-11, 0])
    assert bounds.ndcg_rate_ceiling(p, 3, 0.1) == pytest.approx(
        bounds.ndcg_rate_ceiling(np.array([0.6, 0.4, 0, 0]), 3, 0.1), abs=1e-6
    )
    zipf = 1 / np.arange(1, 4001)
    zipf /= zipf.sum()  # its majorisation is broken at nearly every prefix of a long list
    gains = 1 / np.log2(np.arange(2, 1202))
    found = bounds.ndcg_rate_ceiling(zipf, 1200, 0.2)
    assert zipf[:1200] @ gains < found < bounds.list_rate_ceiling(zipf, 1200, 0.2)


def test_the_floor_of_tables_reaches_its_closed_form_quickly():
    for cells, k, n in ((1, 1, 10**6), (4, 3, 10**9), (256, 10, 10**5), (3, 2, 2)):
        assert bounds.table_regret_floor(cells, 2 * k, k, n) >= np.sqrt(cells * k / n) / 8
    m = np.arange(41)  # the error of a majority, by summation over all coins
    wrong = [
        sum(binom.pmf(heads, coins, 0.6) * (0.5 if 2 * heads == coins else 2 * heads < coins)
            for heads in range(coins + 1)) for coins in m
    ]  # fmt: skip
    assert sign_error(40, 0.3, 0.2) == pytest.approx(binom.pmf(m, 40, 0.3) @ wrong, abs=1e-12)


def test_a_rate_is_at_most_the_entropy():
    p = np.array([0.5, 0.3, 0.2])
    entropy = -(p * np.log(p)).sum()
    assert entropy - 1e-6 < bounds.list_rate(p, 1, 1.0) <= entropy


def test_vertices_that_are_kept_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        bounds.list_envelope(8, 1)[0][1] = 7
    assert bounds.list_envelope(8, 1)[0][1] == 0.5


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: bounds.strict_gain(np.ones((2, 2)) / 4, np.array([0, 10**10]), 1), "labels"),
        (lambda: bounds.strict_gain(np.zeros((0, 3)), np.zeros(0, int), 1), "joint"),
        *(
            (lambda items=items: bounds.fano_ceiling(0.5, items=items, k=1), "items")
            for items in (2**70, 0)
        ),
        (lambda: bounds.table_guarantee(16, 5, 1e-320), "information"),
        (lambda: bounds.recall_cap([0.1, 0.2], [0.1, 0.2, 0.3]), "information"),
        (lambda: bounds.recall_ceiling(1.7, k=3, items=10, information=0.1), "information"),
        (
            lambda: bounds.recall_ceiling(
                k=2, items=99, popularity=np.ones(4) / 4, information=0.1
            ),
            "items",
        ),
    ],
)
def test_what_would_be_a_traceback_or_unread_is_named(call, named):
    with pytest.raises(PremiseError, match=f"^{named} = "):
        call()


def test_a_gain_is_at_most_one():
    assert bounds.margin_gain_cap(50.0, 0.0) == 1
