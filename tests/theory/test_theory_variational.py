"""Variational estimators at the true log ratio, where each has a known mean, and trained, against
their certificates."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.feature_selection import mutual_info_classif

from theory.errors import PremiseError
from theory.estimators import ESTIMATORS, estimate, residual
from theory.estimators import variational as module
from theory.estimators.nearest_neighbour import conditional_ksg_terms, ross_terms
from theory.estimators.variational import (
    VARIATIONAL,
    calibrated_terms,
    infonce_terms,
    nwj_terms,
    sandwich_terms,
    smile_terms,
)

R = 0.7
TRUTH = -0.5 * np.log(1 - R**2)


def true_scores(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """log p(y_j|x_i)/p(y_j) and log p(y_j|x_i) of correlated normals."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = R * x + np.sqrt(1 - R**2) * rng.standard_normal(n)
    log_p = norm.logpdf(y[None], R * x[:, None], np.sqrt(1 - R**2))
    return log_p - norm.logpdf(y)[None], log_p


def test_the_true_critic_attains_nwj_and_the_true_conditional_lies_above():
    ratio, log_p = true_scores(3000)
    for terms in (nwj_terms(ratio + 1), smile_terms(ratio)):
        assert abs(terms.mean() - TRUTH) <= 4 * terms.std() / np.sqrt(len(terms))
    assert (
        nwj_terms(ratio + 1.3).mean() < nwj_terms(ratio + 1).mean()
    )  # a wrong constant is paid for
    for method in ("club", "leave_one_out"):
        terms = sandwich_terms(log_p, method)
        assert terms.mean() >= TRUTH - 3 * terms.std() / np.sqrt(len(terms))
    assert sandwich_terms(log_p, "club").mean() == pytest.approx(
        R**2 / (1 - R**2), abs=0.1
    )  # CLUB at the true law, by hand


def test_nwj_terms_are_the_mean_over_pairs():
    scores = np.random.default_rng(0).standard_normal((7, 7))
    pairs = [np.exp(scores[i, j] - 1) for i in range(7) for j in range(7) if i != j]
    assert nwj_terms(scores).mean() == pytest.approx(
        np.diagonal(scores).mean() - np.mean(pairs), abs=1e-12
    )


def test_infonce_saturates_at_the_log_of_its_batch():
    certain = np.where(np.eye(256, dtype=bool), 50.0, -50.0)
    np.testing.assert_allclose(infonce_terms(certain, batch=64), np.log(64))


def test_one_block_of_infonce_has_a_spread_and_reaching_its_log_is_flagged(monkeypatch):
    ratio, _ = true_scores(200)
    terms = infonce_terms(ratio)
    block = np.diagonal(ratio) - logsumexp(ratio, axis=1) + np.log(200)
    assert terms.mean() == pytest.approx(block.mean(), abs=1e-12)
    spread = [infonce_terms(true_scores(200, seed)[0]).mean() for seed in range(1, 60)]
    assert terms.std() / np.sqrt(200) == pytest.approx(np.std(spread), rel=0.35)
    near = np.full(400, 0.95 * np.log(200))
    monkeypatch.setattr(module, "variational_terms", lambda *_, **__: near)
    flags = estimate(np.arange(400.0), np.arange(400.0), seed=0, estimator="infonce").flags
    assert "log of its block" in str(flags["saturated"])
    monkeypatch.setattr(module, "variational_terms", lambda *_, **__: -near)
    assert (
        "negative"
        in estimate(*np.random.default_rng(0).random((2, 400)), seed=0, estimator="nwj").flags
    )


def test_a_critic_of_any_scale_is_calibrated_on_other_rows():
    (check, _), (test, _) = true_scores(300, 1), true_scores(300, 2)
    for scale, offset in ((1, 0), (2, 30), (4, -9)):
        found = calibrated_terms(scale * check + offset, scale * test + offset)
        assert 0 <= found.mean() <= TRUTH + 4 * found.std() / np.sqrt(300)
    assert nwj_terms(4 * test + 1).mean() < -1  # as it was
    rng = np.random.default_rng(0)
    noise = calibrated_terms(*(50 * rng.standard_normal((2, 300, 300))))
    assert -0.05 < noise.mean() < 0.05


def test_a_network_finds_what_a_normal_law_cannot_hold(monkeypatch):
    monkeypatch.setitem(residual._TRAINING, "rounds", 150)
    x, noise = np.random.default_rng(0).standard_normal((2, 400, 1))
    both, normal = residual.residual_terms(x, x**2 + 0.5 * noise, seed=0)
    assert both.mean() > normal.mean() + 0.2
    assert abs(normal.mean()) < 0.1
    apart = np.random.default_rng(1).standard_normal((2, 900, 3))
    pairs = residual._canonical(*apart, np.arange(900))
    assert not pairs.r.any()  # below the edge of what independent columns give


def test_trained_estimates_without_a_certificate_claim_no_interval(monkeypatch):
    monkeypatch.setattr(module, "_ROUNDS", 1)
    x, y = np.random.default_rng(0).standard_normal((2, 120))
    assert estimate(x, y, seed=0, estimator="smile").ci is None
    found = estimate(x, y, seed=0, estimator="nwj")
    assert found.ci is not None
    assert len(found.pointwise) == 120  # every row is judged


_SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in sorted(VARIATIONAL)
    if name not in ("js_nwj", "club")
]


@pytest.mark.parametrize("method", ["js_nwj", "club", *_SLOW])
def test_trained_estimates_honour_their_certificate(method, monkeypatch):
    monkeypatch.setattr(module, "_ROUNDS", 200)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1200, 1))
    y = R * x + np.sqrt(1 - R**2) * rng.standard_normal((1200, 1))
    found = estimate(x, y, seed=0, estimator=method)
    assert found.certificate == ("lower" if VARIATIONAL[method] else "none")
    assert found.value > 0.4 * TRUTH
    if found.certificate == "lower":
        assert found.value - 4 * (found.ci[1] - found.value) / 1.96 <= TRUTH


def test_training_leaves_the_callers_random_state_alone():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((200, 1))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = module.variational_terms(x, x**2, method="club", seed=0)
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first, module.variational_terms(x, x**2, method="club", seed=0))
    with pytest.raises(PremiseError, match="at least 100 rows"):
        estimate(x[:50], x[:50], seed=0, estimator="nwj")


def test_ross_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=400)
    x = y + rng.standard_normal(400)
    oracle = mutual_info_classif(x[:, None] / x.std(), y, n_neighbors=4, random_state=0)[
        0
    ]  # it adds noise of 1e-10
    assert ross_terms(x / x.std(), y).mean() == pytest.approx(oracle, abs=1e-3)
    assert "ross" in ESTIMATORS


def test_conditional_ksg_against_the_normal_law():
    rng = np.random.default_rng(0)
    c = rng.standard_normal(2000)
    x = c + rng.standard_normal(2000)
    y = x + c + rng.standard_normal(2000)
    truth = 0.5 * np.log(2)  # given c: y = x' + noise of equal variance
    assert conditional_ksg_terms(x, y, c).mean() == pytest.approx(truth, abs=0.06)
    assert estimate(x, y, cond=c, seed=0, estimator="ksg_1").value == pytest.approx(truth, abs=0.06)
    assert abs(conditional_ksg_terms(x, c + rng.standard_normal(2000), c).mean()) < 0.06
    labels = rng.integers(2, size=600)  # ties: the count of coinciding points stands in for k
    assert conditional_ksg_terms(labels, labels, np.zeros(600)).mean() == pytest.approx(
        np.log(2), abs=0.02
    )
