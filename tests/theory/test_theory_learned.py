"""Learned densities and codes, against densities of other libraries and normal laws of known
information."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from theory.errors import PremiseError
from theory.estimators import estimate, learned
from theory.estimators.learned import LEARNED

R = 0.7
TRUTH = -0.5 * np.log(1 - R**2)


def correlated(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    x, noise = np.random.default_rng(seed).standard_normal((2, n, 1))
    return x, R * x + np.sqrt(1 - R**2) * noise


def test_the_margin_of_a_mixture_is_the_mixture_of_margins():
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((3, 4, 4))

    class Law:
        weights_ = np.array([0.2, 0.5, 0.3])
        means_ = rng.standard_normal((3, 4))
        covariances_ = roots @ roots.transpose(0, 2, 1) + np.eye(4)

    rows, columns = rng.standard_normal((20, 4)), np.array([True, False, True, True])
    density = sum(
        weight
        * multivariate_normal(mean[columns], cov[np.ix_(columns, columns)]).pdf(rows[:, columns])
        for weight, mean, cov in zip(Law.weights_, Law.means_, Law.covariances_, strict=True)
    )
    np.testing.assert_allclose(learned._log_density(Law, rows, columns), np.log(density))


_SLOW = [
    pytest.param(name, marks=pytest.mark.slow) for name in LEARNED if name != "gaussian_mixture"
]


@pytest.mark.parametrize("method", ["gaussian_mixture", *_SLOW])
def test_each_finds_the_information_of_correlated_normals_and_none_where_none_is(method):
    x, y = correlated(1500)
    found = estimate(x, y, seed=0, estimator=method)
    assert found.value == pytest.approx(TRUTH, abs=0.1)
    assert (found.ci, found.certificate, len(found.pointwise)) == (None, "none", 1500)
    apart = estimate(x, correlated(1500, seed=2)[0], seed=0, estimator=method)
    assert apart.value == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("method", sorted(LEARNED))
def test_a_seed_repeats_and_the_callers_random_state_stays(method, monkeypatch):
    import torch

    def short(modules, loss, train, check, seed, **options):
        value = loss(train[:60])
        value.backward()
        assert all(p.grad is not None for module in modules for p in module.parameters())
        assert torch.isfinite(value)

    monkeypatch.setattr(learned, "train_until", short)
    x, y = np.random.default_rng(0).standard_normal((2, 150, 3))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = estimate(x, y, seed=0, estimator=method)
    assert torch.equal(before, torch.random.get_rng_state())
    again = estimate(x, y, seed=0, estimator=method)
    np.testing.assert_array_equal(first.pointwise, again.pointwise)
    assert np.isfinite(first.pointwise).all()
    with pytest.raises(PremiseError, match="at least 100 rows"):
        estimate(x[:99], y[:99], seed=0, estimator=method)


@pytest.mark.slow
def test_classified_conditional_information_of_normals():
    rng = np.random.default_rng(0)
    cond, x, y = rng.standard_normal((3, 3000, 1))
    apart = estimate(cond + x, cond + y, cond=cond, seed=0, estimator="smile")
    assert apart.value == pytest.approx(0, abs=0.08)
    assert (apart.ci, apart.certificate) == (None, "none")
    together = estimate(cond + x, cond + x + y, cond=cond, seed=0, estimator="smile")
    assert together.value == pytest.approx(0.5 * np.log(2), abs=0.08)
