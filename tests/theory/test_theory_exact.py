"""The solvable models against fractions, quadrature, permutations and, where installed, dit."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import entr
from scipy.stats import multivariate_normal

from theory.errors import PremiseError
from theory.exact import (
    GaussianChain,
    HiddenMarkovMixture,
    OrderChannel,
    PermutationChannel,
    bayes_ndcg,
    bayes_recall,
    conditional_entropy,
    conditional_mutual_information,
    entropy,
    mutual_information,
)


def test_enumeration_against_fractions():
    counts = np.random.default_rng(0).integers(0, 5, size=(3, 3, 4))
    total, exact = int(counts.sum()), 0.0
    for c, w, y in np.argwhere(counts):
        cell, both = Fraction(int(counts[c, w, y]), total), Fraction(int(counts[c].sum()), total)
        ratio = (
            cell
            * both
            / (
                Fraction(int(counts[c, w].sum()), total)
                * Fraction(int(counts[c, :, y].sum()), total)
            )
        )
        exact += float(cell) * float(np.log(float(ratio)))
    p = counts / total
    assert conditional_mutual_information(p) == pytest.approx(exact, abs=1e-13)
    flat = p.reshape(9, 4)
    assert mutual_information(flat) == pytest.approx(
        entropy(flat.sum(0)) - conditional_entropy(flat), abs=1e-13
    )
    best = sum(max(sum(row[i] for i in pair) for pair in permutations(range(4), 2)) for row in flat)
    assert bayes_recall(flat, 2) == pytest.approx(best)
    lists = [
        max(row[a] + row[b] / np.log2(3) for a, b in permutations(range(4), 2)) for row in flat
    ]
    assert bayes_ndcg(flat, 2) == pytest.approx(sum(lists))


def test_order_channel_against_dit():
    dit = pytest.importorskip("dit", reason="the oracle `dit` is not installed (dev extra)")
    model = OrderChannel(2, 3, 3, order_weight=0.6, noise=0.2, seed=5)
    joint = model.joint()
    outcomes = {
        (*map(int, z), y): joint[i, y] for i, z in enumerate(model.sequences) for y in range(3)
    }
    oracle = dit.Distribution(list(outcomes), list(outcomes.values()))
    bits = dit.shannon.mutual_information(oracle, [0, 1, 2], [3])
    assert model.information() == pytest.approx(bits * np.log(2), abs=1e-10)
    last = dit.shannon.mutual_information(oracle, [2], [3])
    assert model.information("last") == pytest.approx(last * np.log(2), abs=1e-10)


def test_order_channel_samples_follow_its_joint():
    model = OrderChannel(3, 2, 4, order_weight=0.5, noise=0.3, seed=2)
    z, y = model.sample(40_000, seed=0)
    found = np.zeros((9, 4))
    np.add.at(found, (z @ [3, 1], y), 1 / len(z))
    joint = model.joint()
    assert np.all(np.abs(found - joint) <= 5 * np.sqrt(joint * (1 - joint) / len(z)) + 1e-12)


def test_order_weight_is_a_dial_and_shuffling_leaves_the_multiset():
    none, all_order = (OrderChannel(3, 3, 9, order_weight=w, noise=0.1, seed=0) for w in (0.0, 1.0))
    assert none.order_information() == pytest.approx(0, abs=1e-12)
    assert all_order.order_information() > 0.3
    brute = np.zeros_like(all_order.joint())
    index = {tuple(z): i for i, z in enumerate(all_order.sequences)}
    for i, z in enumerate(all_order.sequences):
        for order in permutations(range(3)):
            brute[index[tuple(z[list(order)])]] += all_order.joint()[i] / 6
    np.testing.assert_allclose(all_order.joint("shuffled"), brute, atol=1e-14)


def test_permutation_channel_closed_form_and_sample():
    model = PermutationChannel(symbols=5, noise=0.2)
    assert model.information() == pytest.approx(0.831777, abs=1e-6)
    assert mutual_information(model.joint()) == pytest.approx(model.information(), abs=1e-12)
    assert mutual_information(model.joint("multiset")) == pytest.approx(0, abs=1e-12)
    assert model.recall(1) == pytest.approx(0.8)
    assert model.recall(1, "shuffled") == pytest.approx(0.2)
    z, y = model.sample(4000, seed=1)
    assert np.mean(z[:, 0] == y) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    ("weights", "rho", "ordered", "multiset", "mean"),
    [
        ((0.25, 0.5, 0.75, 1.0), 0.0, 0.7791, 0.5569, 0.5363),
        ((0.25, 0.5, 0.75, 1.0), 0.6, 1.0962, 0.9132, 0.8751),
        ((1.0, -1.0, 1.0, -1.0), 0.0, 1.0986, 0.2477, 0.0),
        ((1.0, -1.0, 1.0, -1.0), 0.6, 0.6696, 0.1095, 0.0),
    ],
)
def test_gaussian_chain_information(weights, rho, ordered, multiset, mean):
    chain = GaussianChain(weights=weights, rho=rho)
    assert chain.information("ordered").value == pytest.approx(ordered, abs=1e-4)
    assert chain.information("mean").value == pytest.approx(mean, abs=1e-4)
    found = chain.information("multiset", n=4000, seed=3)
    assert abs(found.value - multiset) <= 4 * found.standard_error + 0.004


def test_gaussian_multiset_posterior_against_densities_of_every_arrangement():
    chain = GaussianChain(weights=(0.2, 0.5, 1.0), rho=0.5, dims=2)
    z, _ = chain.sample(3, seed=0)
    log_weights, means = chain._arrangements(z)
    for row in range(3):
        density = [
            np.prod(
                [
                    multivariate_normal.pdf(z[row][list(o)][:, d], cov=chain.correlation)
                    for d in range(2)
                ]
            )
            for o in permutations(range(3))
        ]
        np.testing.assert_allclose(
            np.exp(log_weights[row]), np.array(density) / np.sum(density), rtol=1e-9
        )
        direct = [z[row][list(o)][:, 0] @ [0.2, 0.5, 1.0] for o in permutations(range(3))]
        np.testing.assert_allclose(means[row], direct, rtol=1e-12)


def test_gaussian_recall_of_two_intervals_is_the_sign_that_quadrature_gives():
    chain = GaussianChain(weights=(1.0,), rho=0.0, noise_variance=1.0)
    truth = (
        0.5 + np.arctan(1.0) / np.pi
    )  # P(sign of the signal = sign of Y) at correlation 1/sqrt 2
    by_quadrature = (
        2
        * quad(
            lambda t: np.exp(-t * t / 2) / np.sqrt(2 * np.pi) * multivariate_normal.cdf(t), 0, 9
        )[0]
    )
    assert by_quadrature == pytest.approx(truth, abs=1e-6)
    for view in ("ordered", "multiset", "mean", "last"):
        found = chain.recall(1, view, items=2, n=3000)
        assert abs(found.value - truth) <= 4 * found.standard_error
    shares = chain.ndcg(2, "ordered", items=2, n=3000)
    assert abs(shares.value - (truth + (1 - truth) / np.log2(3))) <= 4 * shares.standard_error


def test_hidden_markov_posterior_against_direct_sums():
    model = HiddenMarkovMixture(
        OrderChannel(3, 3, 4, order_weight=0.7, noise=0.1, seed=1), dims=2, spread=0.5
    )
    z, _ = model.sample(4, seed=0)
    prior, sequences = model.states.sequence_probabilities, model.states.sequences
    for view in ("ordered", "multiset", "mean", "last"):
        direct = []
        for row in z:
            likelihood = []
            for c in sequences:
                kernel = lambda a, b, s=0.5: np.exp(-((a - b) ** 2).sum() / (2 * s**2))  # noqa: E731
                if view == "mean":
                    likelihood.append(kernel(row.mean(0), model.means[c].mean(0), 0.5 / np.sqrt(3)))
                elif view == "last":
                    likelihood.append(kernel(row[-1], model.means[c[-1]]))
                else:
                    orders = [(0, 1, 2)] if view == "ordered" else permutations(range(3))
                    likelihood.append(
                        sum(
                            np.prod([kernel(row[o[k]], model.means[c[k]]) for k in range(3)])
                            for o in orders
                        )
                    )
            weight = prior * np.array(likelihood)
            direct.append(weight @ model.states.channel / weight.sum())
        np.testing.assert_allclose(model.posterior(z, view), direct, atol=1e-12)


def test_hidden_markov_tends_to_its_states_and_orders_its_views():
    states = OrderChannel(3, 3, 5, order_weight=0.7, noise=0.1, seed=4)
    sharp = HiddenMarkovMixture(states, dims=2, spread=0.01)
    for view in ("ordered", "multiset", "last"):
        for found, truth in (
            (sharp.information(view, n=1500), states.information(view)),
            (sharp.recall(1, view, n=1500), states.recall(1, view)),
            (sharp.ndcg(3, view, n=1500), states.ndcg(3, view)),
        ):
            assert abs(found.value - truth) <= 4 * found.standard_error + 1e-9
    blurred = HiddenMarkovMixture(states, dims=2, spread=0.7)
    found = [blurred.information(view, n=1500).value for view in ("ordered", "multiset", "mean")]
    assert found[0] > found[1] > found[2]
    z, y = blurred.sample(3000, seed=9)
    p = blurred.posterior(z)
    log_loss = -np.log(
        p[np.arange(len(y)), y]
    )  # posteriors are calibrated: mean log-loss = mean entropy
    difference = log_loss - entr(p).sum(1)
    assert abs(difference.mean()) <= 4 * difference.std() / np.sqrt(len(y))


def test_models_name_what_they_cannot_do():
    with pytest.raises(PremiseError, match="choose one of"):
        OrderChannel(2, 2, 2, 0.5, 0.1, 0).joint("nothing")
    with pytest.raises(PremiseError, match="use fewer"):
        OrderChannel(10, 9, 2, 0.5, 0.1, 0)
    with pytest.raises(PremiseError, match="information is infinite"):
        GaussianChain(weights=(1.0,), noise_variance=0.0)
    with pytest.raises(PremiseError, match="probabilities sum to 1"):
        mutual_information(np.ones((2, 2)))


def test_information_of_margins_whose_product_underflows():
    p = np.array([[1e-200, 1e-210], [1e-205, 1.0]])
    assert 0 <= mutual_information(p) < 1e-12
    assert conditional_mutual_information(p[None]) == mutual_information(p)
