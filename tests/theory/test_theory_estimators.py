"""Estimators against closed forms, brute force, the exact models, and their own certificates."""

import json

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import digamma, gammaln, polygamma
from scipy.stats import norm

import theory
from theory.__main__ import main
from theory.errors import PremiseError
from theory.estimators import (
    ESTIMATORS,
    estimate,
    independence_test,
    ksg,
    order_test,
    shuffle_contrast,
)
from theory.estimators.copula import gaussian_information, normal_scores
from theory.estimators.entropies import ENTROPIES, nsb, occupied
from theory.estimators.nearest_neighbour import ksg_terms, mixed_ksg
from theory.estimators.usable_information import paired_log_ratios
from theory.exact import GaussianChain, HiddenMarkovMixture, OrderChannel, mutual_information
from theory.selfcheck import selfcheck


@pytest.mark.parametrize("name", sorted(ENTROPIES))
def test_entropy_estimators_approach_the_truth(name):
    model = OrderChannel(3, 3, 5, order_weight=0.5, noise=0.2, seed=1)
    z, y = model.sample(5000, seed=0)
    found = estimate(z, y, seed=0, estimator=name)
    assert found.value == pytest.approx(model.information(), abs=0.05)
    assert found.certificate == "none"


def test_plug_in_is_the_information_of_the_frequencies_and_obeys_data_processing():
    z, y = OrderChannel(3, 3, 5, order_weight=0.5, noise=0.2, seed=1).sample(200, seed=0)
    table = np.zeros((27, 5))
    np.add.at(table, (z @ [9, 3, 1], y), 1 / 200)
    found = estimate(z, y, seed=0, estimator="plug_in")
    assert found.value == pytest.approx(mutual_information(table), abs=1e-12)
    assert estimate(np.sort(z, 1), y, seed=0, estimator="plug_in").value <= found.value


def test_nsb_against_quadrature():
    counts, cells, n = np.array([3, 1, 1]), 5, 5

    def terms(log_strength):
        b = np.exp(log_strength)
        log_evidence = (
            gammaln(cells * b) - gammaln(n + cells * b) + (gammaln(counts + b) - gammaln(b)).sum()
        )
        weight = (
            np.exp(log_evidence) * (cells * polygamma(1, cells * b + 1) - polygamma(1, b + 1)) * b
        )
        full = np.append(counts, [0, 0])
        mean = (
            digamma(n + cells * b + 1)
            - ((full + b) / (n + cells * b) * digamma(full + b + 1)).sum()
        )
        return weight, weight * mean

    low, high = np.log(1e-6), np.log(1e5)
    top = quad(lambda t: terms(t)[1], low, high, limit=500)[0]
    assert nsb(counts, cells) == pytest.approx(
        top / quad(lambda t: terms(t)[0], low, high, limit=500)[0], rel=1e-4
    )


@pytest.mark.parametrize("variant", [1, 2])
def test_ksg_against_loops(variant):
    rng = np.random.default_rng(0)
    x, k, n = rng.standard_normal((60, 2)), 3, 60
    y = x[:, :1] + rng.standard_normal((60, 1))
    slow = []
    for i in range(n):
        dx, dy = np.abs(x - x[i]).max(1), np.abs(y - y[i]).max(1)
        near = [j for j in np.argsort(np.maximum(dx, dy)) if j != i][:k]
        if variant == 1:
            reach = max(dx[near[-1]], dy[near[-1]])
            slow.append(
                digamma(k) + digamma(n) - digamma((dx < reach).sum()) - digamma((dy < reach).sum())
            )
        else:
            inside_x, inside_y = (dx <= dx[near].max()).sum() - 1, (dy <= dy[near].max()).sum() - 1
            slow.append(digamma(k) - 1 / k + digamma(n) - digamma(inside_x) - digamma(inside_y))
    np.testing.assert_allclose(ksg_terms(x, y, neighbours=k, variant=variant), slow, atol=1e-12)


def test_ksg_in_the_plane_and_mixed_with_labels():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(1500)
    y = 0.8 * x + 0.6 * rng.standard_normal(1500)
    for found in (ksg(x, y), ksg(x, y, variant=2), mixed_ksg(x, y)):
        assert found == pytest.approx(-0.5 * np.log(1 - 0.64), abs=0.08)
    labels = rng.integers(2, size=1500)
    spread = labels * 2.0 - 1 + rng.standard_normal(1500)
    truth = quad(lambda t: norm.pdf(t - 1) * (np.log(2) - np.log1p(np.exp(-2 * t))), -9, 11)[0]
    assert mixed_ksg(spread, labels) == pytest.approx(truth, abs=0.06)


def test_gaussian_correction_leaves_no_bias():
    rng, found = np.random.default_rng(2), []
    for _ in range(
        400
    ):  # 12 rows of 3 + 2 columns: without the correction the mean is off by .5 nats
        x = rng.standard_normal((12, 3))
        y = x[:, :2] + rng.standard_normal((12, 2))
        found.append(gaussian_information(x, y)[0])
    assert abs(np.mean(found) - np.log(2)) <= 4 * np.std(found) / np.sqrt(len(found))


def test_gaussian_conditional_against_the_chain():
    chain = GaussianChain(weights=(0.25, 0.5, 0.75, 1.0), rho=0.6)
    z, y = chain.sample(4000, seed=0)
    steps, mean = z[..., 0], z[..., 0].mean(1)
    truth = chain.information("ordered").value - chain.information("mean").value
    found = estimate(
        steps[:, 1:], y, cond=mean, seed=0, estimator="gaussian"
    )  # three steps and the mean give the fourth
    assert found.ci[0] - 0.02 <= truth <= found.ci[1] + 0.02
    assert estimate(steps, y, seed=0, estimator="student_copula").value == pytest.approx(
        chain.information("ordered").value, abs=0.06
    )


@pytest.fixture(scope="module")
def mixture():
    model = HiddenMarkovMixture(
        OrderChannel(3, 2, 4, order_weight=1.0, noise=0.1, seed=3), dims=2, spread=0.4
    )
    return model, *model.sample(900, seed=1)


def test_usable_information_is_a_lower_bound_that_finds_most(mixture):
    model, z, y = mixture
    truth = model.information("ordered", n=3000)
    found = theory.estimate(z, y, seed=0)
    assert found.diagnostics["estimator"] == "usable_information"
    assert found.certificate == "lower"
    assert 0.4 * truth.value < found.value
    assert found.ci[0] <= truth.value + 4 * truth.standard_error
    assert theory.estimate(z, y, seed=0) == found  # one seed, one answer


def test_usable_information_beyond_the_mean_and_nothing_where_there_is_nothing(mixture):
    model, z, y = mixture
    gain = estimate(z, y, cond=z.mean(1), seed=0)
    assert gain.certificate == "none"  # a difference of cross-entropies is no bound (T9)
    assert (
        0.02
        < gain.value
        < model.information("ordered", n=3000).value
        - model.information("mean", n=3000).value
        + 0.05
    )
    rng = np.random.default_rng(4)
    mean = z.mean(1)
    posterior = model.posterior(z, "mean")
    null = (posterior.cumsum(1) < rng.random((len(z), 1))).sum(1)  # Y drawn given the mean alone
    nothing, _ = paired_log_ratios(z, null, mean, seed=0)
    assert abs(nothing.mean()) < 0.012


@pytest.mark.parametrize("name", ["usable_information", "token_choice"])
def test_what_is_left_in_the_condition_is_no_gain_and_what_is_new_is(name):
    """Y is a function of c that one stage does not exhaust, then a law of x beyond c."""
    rng = np.random.default_rng(0)
    c, x = rng.standard_normal((2000, 8)), rng.standard_normal((2000, 3))
    y = ((c[:, 0] * c[:, 1] + c[:, 2] * c[:, 3]) > 0).astype(int)
    for known in (x, c, x + c[:, :3]):
        assert abs(estimate(known, y, cond=c, seed=0, estimator=name).value) < 0.008
    label = rng.integers(4, size=2000)
    assert abs(estimate(x, label, cond=label, seed=0, estimator=name).value) < 0.008
    logit = 2 * x[:, 0]
    y = (rng.random(2000) < 1 / (1 + np.exp(-logit))).astype(int)
    p, weights = np.polynomial.hermite_e.hermegauss(81)
    p = 1 / (1 + np.exp(-2 * p))
    truth = np.log(2) + weights @ (p * np.log(p) + (1 - p) * np.log1p(-p)) / weights.sum()
    found = estimate(x, y, cond=c, seed=0, estimator=name)
    assert found.value == pytest.approx(truth, abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_a_lower_certificate_is_honoured_on_every_seed(seed):
    states = OrderChannel(3, 3, 5, order_weight=0.7, noise=0.1, seed=seed)
    model = HiddenMarkovMixture(states, dims=2, spread=0.5)
    z, y = model.sample(1000, seed=seed)
    assert estimate(z, y, seed=seed).ci[0] <= model.information("ordered", n=3000).value + 0.02
    discrete = states.sample(1000, seed=seed)
    assert (
        estimate(*discrete, seed=seed, estimator="usable_information").ci[0] <= states.information()
    )


def test_order_test_is_exact_under_the_null_and_powerful_beyond():
    rejected = []
    for seed in range(120):  # 19 permutations: P(p <= .05) = .05 at most
        z, y = OrderChannel(3, 2, 4, order_weight=0.0, noise=0.3, seed=1).sample(60, seed=seed)
        rejected.append(order_test(z, y, seed=seed, permutations=19).p_value <= 0.05)
    assert np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(rejected))
    z, y = OrderChannel(3, 2, 4, order_weight=1.0, noise=0.3, seed=1).sample(400, seed=0)
    found = order_test(z, y, seed=0)
    assert found.p_value == 0.01
    seen = set(map(tuple, z.tolist()))
    assert found.informative_rows == sum(a != b and (b, a) in seen for a, b in z.tolist())


def test_shuffle_contrast_corrects_for_the_order_of_order():
    model = OrderChannel(3, 3, 4, order_weight=0.5, noise=0.2, seed=2)
    z, y = model.sample(60_000, seed=0)
    joint, shuffled = model.joint(), model.joint("shuffled")
    naive = float((joint * np.log(joint / shuffled)).sum())
    found = shuffle_contrast(z, y)
    assert found.naive == pytest.approx(naive, abs=0.02)
    assert found.corrected == pytest.approx(model.order_information(), abs=0.01)
    assert found.naive > found.corrected + 0.05


def test_selfcheck_knows_every_break():
    for name in ("plug_in", "shrinkage", "ksg_1", "gaussian", "gaussian_copula"):
        assert all(result.expected for result in selfcheck(name))
    verdicts = {result.law: result.verdict for result in selfcheck("mixed_ksg")}
    assert verdicts["data processing"] == "breaks"  # F8
    assert verdicts["symmetry"] == "holds"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_selfcheck_of_every_estimator(name):
    assert all(result.expected for result in selfcheck(name))


def test_command_line_estimates_a_file(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2))
    np.savez(tmp_path / "data.npz", x=x, y=x[:, 0] + rng.standard_normal(300))
    words = ["estimate", str(tmp_path / "data.npz"), "--estimator", "gaussian_copula"]
    assert main(words) == 0
    assert "nats by gaussian_copula on 300 rows, which is no bound." in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"value", "ci", "certificate", "diagnostics", "unit"}
    assert report["value"] == pytest.approx(0.3466, abs=0.12)
    np.savez(tmp_path / "half.npz", x=x)
    np.save(tmp_path / "one.npy", x)
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "half.npz").read_bytes()[:200])
    for name, message in (
        ("half.npz", "lacks"),
        ("one.npy", "one array"),
        ("none.npz", "No such file"),
        ("empty.npz", ""),
        ("cut.npz", "cannot be read"),  # and is closed, else pytest warns of it
    ):
        assert main(["estimate", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros(5), "y": np.zeros(4)}, "needs the rows of x: 5"),
        ({"x": np.array([1.0, np.nan]), "y": np.zeros(2)}, "drop rows with nan"),
        ({"x": np.zeros(5, int), "y": np.zeros(5, int), "estimator": "magic"}, "choose one of"),
        ({"x": np.arange(5.0), "y": np.zeros(5), "estimator": "plug_in"}, "reads whole numbers"),
        ({"x": np.zeros(5, int), "y": np.zeros(5, int), "estimator": "ksg_1"}, "reads floats"),
        ({"x": np.zeros(9), "y": np.zeros(9), "estimator": "ksg_1"}, "equal rows"),
        ({"x": np.zeros(9), "y": np.zeros(9), "estimator": "gaussian"}, "singular"),
        (
            {"x": np.arange(9.0), "y": np.arange(9.0), "cond": np.ones(9), "estimator": "ksg_2"},
            "with cond, choose one of",
        ),
        ({"x": np.arange(90.0), "y": np.zeros(90, int)}, "two values or more"),
        ({"x": np.arange(9.0), "y": np.arange(9) % 2}, "5 folds need 50 rows"),
    ],
)
def test_data_that_cannot_be_read_is_named(arguments, message):
    with pytest.raises(PremiseError, match=message):
        estimate(**arguments, seed=0)


@pytest.mark.slow
def test_nested_models_find_nothing_in_null_where_free_ones_do(mixture):
    """Y drawn given the mean alone: the ordered steps add nothing, and two models fitted apart say
    otherwise."""
    model = mixture[0]
    nested, free = [], []
    for seed in range(20):
        z, _ = model.sample(900, seed=seed)
        mean, rng = z.mean(1), np.random.default_rng(100 + seed)
        y = (model.posterior(z, "mean").cumsum(1) < rng.random((len(z), 1))).sum(1)
        (gain, _), (_, ordered), (_, pooled) = (
            paired_log_ratios(*arrays, seed=seed)
            for arrays in ((z, y, mean), (z, y, None), (mean, y, None))
        )
        for found, values in ((nested, gain), (free, ordered - pooled)):
            found.append(abs(values.mean()) <= 3 * values.std(ddof=1) / np.sqrt(len(values)))
    assert sum(nested) >= 19
    assert sum(free) < 19


@pytest.mark.slow
def test_intervals_cover_what_a_family_that_holds_the_truth_can_extract():
    """Y by a logistic law of a label and a number, which is in the family; the truth by quadrature
    over the number."""

    def entropy(p):
        return -(p * np.log(p) + (1 - p) * np.log1p(-p))

    nodes, weights = np.polynomial.hermite_e.hermegauss(81)
    p, weights = (
        1 / (1 + np.exp(-(np.array([-0.8, 0, 0.8])[:, None] + 1.2 * nodes))),
        weights / weights.sum(),
    )
    truth = float((entropy(p @ weights) - entropy(p) @ weights).mean())
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        label, x = rng.integers(3, size=2000), rng.standard_normal((2000, 1))
        y = (rng.random(2000) < 1 / (1 + np.exp(-(0.8 * (label - 1) + 1.2 * x[:, 0])))).astype(int)
        low, high = estimate(x, y, cond=label, seed=seed, estimator="usable_information").ci
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= 0.9 - 3 * np.sqrt(0.9 * 0.1 / len(covered))


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path, capsys):
    from theory.__main__ import main

    (tmp_path / "broken.py").write_text("1 / 0")
    for place in (str(tmp_path / "broken.py"), "no_such_module_of_anybody"):
        assert main(["--plugin", place, "bound"]) == 2
        assert "cannot be imported" in capsys.readouterr().err


def test_names_of_ours_are_not_registered_again():
    from theory import register_bound, register_estimator

    with pytest.raises(PremiseError, match="'chao_shen': is an estimator of theory itself"):
        register_estimator("chao_shen")
    with pytest.raises(PremiseError, match=r"'pinsker_gain': is a name of theory\.bounds"):
        register_bound("pinsker_gain")


@pytest.mark.parametrize("answer", [1.0, (1.0, [0.5]), (np.nan, [0.5, 0.5]), ("much", [1, 2])])
def test_an_estimator_of_others_must_give_a_value_and_terms(answer, monkeypatch):
    from theory import estimators

    monkeypatch.setitem(estimators.ESTIMATORS, "own", estimators.ESTIMATORS["chao_shen"])
    estimators.register_estimator("own")(lambda x, y, cond, seed: answer)
    with pytest.raises(PremiseError, match="the estimator own must return a number and an array"):
        estimate(np.arange(4), np.arange(4), seed=0, estimator="own")


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["bound", "recall_ceiling", "conditional_entropy=8.0", "items=12101", "k=10"], "0.280947"),
        (["bound", "pinsker_gain", "information=0.02"], "0.1"),
        (["bound"], "Highest recall@k of any decoder"),
    ],
)
def test_the_command_line_evaluates_bounds(arguments, printed, capsys):
    from theory.__main__ import main

    assert main(arguments) == 0
    assert printed in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bound", "recal_ceiling"], "choose one of"),
        (["bound", "pinsker_gain", "information"], "ARGUMENT=VALUE"),
        (["bound", "pinsker_gain", "nats=1"], "ARGUMENT=VALUE"),
        (["bound", "pinsker_gain", "information=-1.0"], "number >= 0"),
    ],
)
def test_the_command_line_refuses_in_one_line(arguments, message, capsys):
    from theory.__main__ import main

    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_import_theory_lists_and_loads_what_there_is():
    import theory

    assert {"bounds", "exact", "estimate", "verify"} <= set(dir(theory))
    assert theory.bounds.pinsker_gain(0.02) == pytest.approx(0.1)
    assert theory.exact.OrderChannel.__name__ == "OrderChannel"


def correlated(n: int, dims: int, r: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(seed).standard_normal((2, n, dims))
    return x, r * x + np.sqrt(1 - r**2) * y


@pytest.mark.parametrize("name", ["gaussian", "gaussian_copula", "student_copula"])
def test_intervals_hold_the_truth_where_there_is_none_and_little(name):
    for dims, r in ((1, 0.0), (2, 0.0), (1, 0.15)):
        truth, held = -0.5 * dims * np.log1p(-(r**2)), 0
        for seed in range(60):
            low, high = estimate(*correlated(200, dims, r, seed), seed=0, estimator=name).ci or (
                0,
                0,
            )
            held += low <= truth <= high
        assert held / 60 >= 0.95 - 3 * 0.028, (dims, r)


def test_intervals_of_neighbours_and_counts_hold_independence():
    held = {"ksg_1": 0, "plug_in": 0, "chao_shen": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        letters = rng.integers(4, size=(2, 400))
        for name in held:
            data = correlated(200, 1, 0.0, seed) if name == "ksg_1" else letters
            low, high = estimate(*data, seed=0, estimator=name).ci or (0, 0)
            held[name] += low <= 0 <= high
    assert min(held.values()) >= 60 * (0.95 - 3 * 0.028), held


@pytest.mark.parametrize(
    ("levels", "n", "swapped"), [(30, 1000, 0.0), (10, 4000, 0.2), (4, 400, 1)]
)
def test_intervals_of_counts_hold_the_truth_and_the_value_at_every_strength(levels, n, swapped):
    law = np.eye(levels) * (1 - swapped) / levels + swapped / levels**2
    truth, held = mutual_information(law), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.integers(levels, size=n)
        y = np.where(rng.random(n) < swapped, rng.integers(levels, size=n), x)
        found = estimate(x, y, seed=0, estimator=["chao_shen", "shrinkage", "nsb"][seed % 3])
        low, high = found.ci
        assert low <= found.value <= high
        held.append(low <= truth <= high)
    assert np.mean(held) >= 0.95 - 3 * 0.028


def test_freedom_is_of_the_cells_that_can_occur_in_each_stratum():
    rng = np.random.default_rng(0)
    x, y, c = rng.integers(4, size=(3, 3000))
    assert occupied(x, y, c)[2] == 4 * 3 * 3  # all cells are seen
    assert occupied(x, x, None)[2] == 4 - 4 - 4 + 1
    assert occupied(x, 4 * x + y, c)[2] == 64 - 16 - 64 + 4  # y settles x, in four strata


def test_sparse_tables_are_shrunk_and_flagged():
    x, y = np.random.default_rng(0).integers(200, size=(2, 500))
    found = estimate(x, y, seed=0)
    assert found.diagnostics["estimator"] == "shrinkage"
    assert abs(found.value) < 0.05
    assert "alone in their cell" in str(found.flags["sparse"])
    assert found.ci is None
    assert "sparse" in estimate(x, y, seed=0, estimator="plug_in").flags
    assert estimate(x, x, seed=0).value == pytest.approx(np.log(200), abs=0.1)  # not sparse


def test_labels_as_floats_are_labels_and_say_so():
    rng = np.random.default_rng(0)
    x = rng.integers(4, size=800)
    y = np.where(rng.random(800) < 0.7, x, rng.integers(4, size=800))
    as_floats, as_labels = (estimate(a, b, seed=0) for a, b in ((x * 1.0, y * 1.0), (x, y)))
    assert as_floats.value == as_labels.value
    assert "read as labels" in str(as_floats.flags["ties"])
    rounded = estimate(x + 0.5, y * 0.1, seed=0)
    assert rounded.diagnostics["estimator"] == "mixed_ksg"
    assert "ties" in rounded.flags


def test_the_default_reads_every_kind_of_data():
    rng = np.random.default_rng(0)
    whole, numbers = rng.integers(3, size=(200, 1)), rng.standard_normal((200, 1))
    kinds = {"whole": whole, "numbers": numbers, "both": np.c_[numbers, numbers**2]}
    for x in kinds.values():
        for y in kinds.values():
            for cond in (None, whole, rng.standard_normal(200)):
                if cond is not whole or y is not whole:  # y given itself is a constant
                    assert np.isfinite(estimate(x, y + 0, cond=cond, seed=0).value)
    other = rng.standard_normal(200)
    copies, one = (estimate(x, other, seed=0) for x in (np.c_[numbers, numbers], numbers))
    assert copies.value == pytest.approx(one.value)
    assert not copies.flags
    assert estimate(np.ones(300), np.ones(300), seed=0, estimator="automatic").value == 0
    wide = rng.standard_normal((100, 60))
    found = estimate(wide, wide + rng.standard_normal((100, 60)), seed=0)
    assert "refused" in found.flags
    assert found.ci is None


NEAR = {  # draws of rows, and the information in nats
    "labels in other units": (lambda z, e, c: ((z > 0) * 1, 1e6 * (5 * (z > 0) + e)), 0.683),
    "labels far from zero": (lambda z, e, c: ((z > 0) + 2**60, 5 * (z > 0) + e), 0.683),
    "large whole numbers": (lambda z, e, c: ((1000 * z).astype(int), z + e / 2), 0.805),
    "rounded, independent": (lambda z, e, c: (np.round(20 * z) / 20, np.round(20 * e) / 20), 0.0),
    "rounded": (lambda z, e, c: (np.round(20 * z) / 20, np.round(20 * (z + e / 2)) / 20), 0.805),
    "whole numbers that rarely repeat": (
        lambda z, e, c: (z, (1e4 * (z + e / 2)).astype(int)),
        0.805,
    ),
    "a common cause": (lambda z, e, c: (c**2 + z / 10, c**2 + e / 10, c), 0.0),
    "a sign that is known": (lambda z, e, c: (z, z * np.sign(c) + 0.3 * e, c), 1.247),
    "a copied column": (lambda z, e, c: (np.c_[z, z], z + e / 2), 0.805),
    "repeated rows": (lambda z, e, c: (z * (c < 1.6), z * (c < 1.6) + e * (c < 1.6) / 2), None),
}


@pytest.mark.parametrize("name", NEAR)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_is_near_the_truth(name, seed):
    make, truth = NEAR[name]
    x, y, *cond = make(*np.random.default_rng(seed).standard_normal((3, 2000)))
    found = estimate(x, y, cond=cond[0] if cond else None, seed=seed)
    if truth is None:  # .945 of rows are a normal pair, the rest are equal: that is told too
        share = np.mean(x != 0)
        truth = share * 0.805 - share * np.log(share) - (1 - share) * np.log(1 - share)
    assert found.value == pytest.approx(truth, abs=0.12)


def test_how_many_labels_are_read_is_said():
    z, e = np.random.default_rng(0).standard_normal((2, 600))
    counts = np.random.default_rng(1).poisson(np.exp(z + 3))
    assert "as labels" in str(estimate(z, counts, seed=0).flags["reading"])
    rare = estimate(z, (1e4 * e).astype(int), seed=0)
    assert rare.diagnostics["estimator"] == "mixed_ksg"
    assert "as numbers" in str(rare.flags["reading"])
    named = estimate(z, np.arange(600) // 3, seed=0, estimator="usable_information")
    assert named.value < 0
    assert "negative" in named.flags


@pytest.mark.parametrize("name", ["ksg_1", "ksg_2", "mixed_ksg", "gaussian", "infonce"])
def test_units_and_offsets_say_nothing(name):
    x, y = correlated(300, 1, 0.6, 0)
    plain, moved = (estimate(x * s + o, y, seed=0, estimator=name) for s, o in ((1, 0), (1e6, 1e8)))
    assert moved.value == pytest.approx(plain.value, abs=1e-6)


def test_shrinkage_needs_no_whole_table():
    assert estimate(np.arange(30_000), np.arange(30_000), seed=0).value < 1e-6
    joint = np.array([5, 3, 1])
    lines = np.r_[joint, np.zeros(5)] / 9
    weight = (1 - (lines**2).sum()) / (8 * ((lines - 1 / 8) ** 2).sum())
    shrunk = weight / 8 + (1 - weight) * lines
    assert ENTROPIES["shrinkage"](joint, 8) == pytest.approx(-(shrunk * np.log(shrunk)).sum())


def test_a_column_is_a_vector_of_one():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 2)), rng.integers(3, size=300)
    for name in ("usable_information", "ross", "token_choice"):
        one, other = (estimate(x, t, seed=0, estimator=name) for t in (y, y[:, None]))
        assert one.value == other.value


def test_options_units_and_pointwise_terms():
    x, y = correlated(300, 1, 0.6, 0)
    found = estimate(x, y, seed=0, estimator="ksg_1", neighbours=10)
    scores = [normal_scores(side) for side in (x, y)]
    assert found.value == pytest.approx(ksg(*scores, neighbours=10), abs=1e-12)
    bits = estimate(x, y, seed=0, estimator="ksg_1", neighbours=10, unit="bits")
    assert bits.value == pytest.approx(found.value / np.log(2))
    assert bits.unit == "bits"
    assert found.pointwise.mean() == pytest.approx(found.value)
    density = estimate(x, y, seed=0, estimator="gaussian").pointwise
    truth = norm.logpdf(y, 0.6 * x, 0.8) - norm.logpdf(y)
    assert np.corrcoef(density, truth[:, 0])[0, 1] > 0.99
    with pytest.raises(PremiseError, match="neighbors = 3: is no option of ksg_1, which takes"):
        estimate(x, y, seed=0, estimator="ksg_1", neighbors=3)


def test_euclidean_neighbours_against_loops_and_in_many_dimensions():
    x, y = correlated(60, 2, 0.5, 0)
    slow, k = [], 3
    for i in range(60):
        dx, dy = np.linalg.norm(x - x[i], axis=1), np.linalg.norm(y - y[i], axis=1)
        reach = np.sort(np.maximum(dx, dy))[k]
        slow.append(digamma(k) + digamma(60) - digamma((dx < reach).sum()))
        slow[-1] -= digamma((dy < reach).sum())
    terms = ksg_terms(x, y, neighbours=k, metric="euclidean")
    np.testing.assert_allclose(terms, slow, atol=1e-12)
    wide = correlated(600, 12, 0.4, 1)  # truth 1.05: both fall below, Euclid less
    assert ksg(*wide) < ksg(*wide, metric="euclidean") < 1.05


def test_a_correction_for_oblique_neighbourhoods():
    x, y = correlated(1000, 1, 0.9999, 0)
    truth = -0.5 * np.log1p(-(0.9999**2))
    plain, corrected = (ksg(x, y, neighbours=8, correction=c) for c in (None, 0.4))
    assert abs(corrected - truth) < 0.75 * abs(plain - truth)
    round_, same = (
        ksg(*correlated(1000, 1, 0.0, 1), neighbours=8, correction=c) for c in (None, 0.1)
    )
    assert abs(same - round_) < 0.03
    with pytest.raises(PremiseError, match="needs more than the 2 columns"):
        ksg(x, y, neighbours=2, correction=0.3)


def test_permutations_give_a_p_value():
    x, y = correlated(100, 1, 0.5, 0)
    assert independence_test(x, y, seed=0).p_value == 0.01
    small = [
        independence_test(*correlated(60, 1, 0.0, seed), seed=seed, permutations=19).p_value
        for seed in range(100)
    ]
    assert np.mean(np.array(small) <= 0.05) <= 0.05 + 3 * 0.022
    with pytest.raises(PremiseError, match="permutations = 0: a whole number >= 1"):
        independence_test(x, y, seed=0, permutations=0)


def test_the_default_takes_the_family_that_fits_and_says_when_they_differ():
    rng = np.random.default_rng(0)
    normal = estimate(*correlated(300, 3, 0.6, 0), seed=0)
    assert normal.diagnostics["chosen"] == "copula"
    assert not normal.flags
    scale = np.sqrt(rng.chisquare(1.0, size=(300, 1)))
    tails = estimate(*(v / scale for v in correlated(300, 2, 0.0, 1)), seed=0)
    assert tails.value == pytest.approx(0.432, abs=0.12)
    assert "Student" in str(tails.diagnostics["tail"])
    x = rng.standard_normal((300, 1))
    bent = estimate(x, x**2 + 0.5 * rng.standard_normal((300, 1)), seed=0)
    assert bent.diagnostics["chosen"] != "copula"
    assert bent.value == pytest.approx(0.803, abs=0.2)


def test_names_of_labels_say_nothing_beside_numbers():
    rng = np.random.default_rng(0)
    c, (e, d) = rng.integers(40, size=2000), rng.standard_normal((2, 2000)) / 3
    first, second, other = (rng.permutation(40) for _ in range(3))
    x, y = first[c] + e, second[c] + d
    found = estimate(x, y, cond=c, seed=0)
    assert found.value == pytest.approx(0, abs=0.03)  # both are c and noise of their own
    assert found == estimate(x, y, cond=other[c], seed=0)
    density = norm.pdf(np.linspace(-5, 44, 20_000)[:, None], np.arange(40), 1 / 3) / 40
    total = density.sum(1, keepdims=True)
    truth = float((density * np.log(density / total * 40 + 1e-300)).sum() * 49 / 19_999)
    for rounded, name in ((y, "ross"), (y.round(2), "mixed_ksg")):
        one, two = (estimate(label, rounded, seed=0) for label in (c, other[c]))
        assert one.diagnostics["estimator"] == name
        assert one.value == pytest.approx(truth, abs=0.06)
        assert one.value == pytest.approx(two.value, abs=1e-12)
    many = estimate((1e4 * e).astype(int), d, cond=rng.integers(70, size=2000), seed=0)
    assert "x holds many whole numbers, read as numbers" in str(many.flags["reading"])
    assert "cond holds many whole numbers, read as labels" in str(many.flags["reading"])


def test_ties_and_constants_in_many_dimensions_cost_nothing():
    x, y = correlated(2000, 6, 0.6, 0)
    truth = -3 * np.log1p(-(0.6**2))
    plain = estimate(x, y, seed=0)
    assert plain == estimate(np.c_[x, np.ones(2000)], y, seed=0)
    found = estimate(x.round(2), y.round(2), seed=0)
    assert found.value == pytest.approx(truth, abs=0.1)
    assert "x has equal values" in str(found.flags["ties"])
    assert "y has equal values" in str(found.flags["ties"])
    low = estimate(x, y, seed=0, estimator="mixed_ksg")
    assert low.ci is None
    assert "12 columns" in str(low.flags["sparse"])


def test_copies_of_rows_are_flagged_and_have_no_interval():
    x, y = correlated(300, 1, 0.0, 0)
    for name in (None, "mixed_ksg", "gaussian"):
        found = estimate(x.repeat(10, 0), y.repeat(10, 0), seed=0, estimator=name)
        assert "300 rows are all that 3000 hold" in str(found.flags["duplicates"])
        assert found.ci is None
    labels = estimate((x[:, 0] > 0).repeat(10) * 1, y.repeat(10, 0), seed=0)
    assert "duplicates" in labels.flags
    for honest in (x.round(1), np.maximum(x, 0)):  # rounding and an atom are no copies
        assert "duplicates" not in estimate(honest, np.maximum(y, 0).round(1), seed=0).flags


def test_one_value_tells_nothing_and_masked_rows_are_refused():
    y = np.random.default_rng(0).standard_normal(300)
    found = estimate(np.ones(300), y, seed=0)
    assert (found.value, found.ci) == (0, (0, 0))
    with pytest.raises(PremiseError, match="y = 'masked': drop masked rows"):
        estimate(y, np.ma.masked_greater(y, 2), seed=0)


def test_what_is_flagged_is_told_in_the_unit_asked_for() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(4000)
    y = np.where(rng.random(4000) < 0.5, x, -x) + 0.01 * rng.standard_normal(4000)
    nats, bits = (estimate(x, y, seed=0, unit=unit) for unit in ("nats", "bits"))
    families = [found.diagnostics["families"] for found in (nats, bits)]
    for name, value in families[0].items():
        assert families[1][name] == pytest.approx(value / np.log(2), abs=2e-4)
    for found, shown in zip((nats, bits), families, strict=True):
        assert found.flags["disagreement"].endswith(f"{shown} {found.unit}")
        assert found.flags["disagreement"] in found.sentence()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: estimate(x, x**2, cond=x, seed=0, estimator="ksg_1", metric="euclidean"),
            "metric = 'euclidean': is no option of ksg_1",
        ),
        *(
            (
                lambda x, k=k: estimate(x, (x > 0) * 1, seed=0, estimator="ross", neighbours=k),
                f"neighbours = {k}: a whole number >= 1",
            )
            for k in (0, -1)
        ),
        (
            lambda x: estimate(x[:4], x[4:8], seed=0, estimator="ksg_1"),
            "rows = 4: neighbours need 5 rows or more",
        ),
        (lambda x: independence_test(x, np.where(x > 0, np.nan, x), seed=0), "y = 'not finite'"),
        (lambda x: independence_test(x, x, seed=-1), "seed = -1"),
        (lambda x: order_test(np.zeros((0, 2), int), np.zeros(0, int), seed=0), "steps = "),
    ],
)
def test_options_seeds_and_rows_are_checked(call, message):
    with pytest.raises(PremiseError, match=message):
        call(np.random.default_rng(0).standard_normal(60))


def test_the_command_line_names_what_it_would_not_read(tmp_path, capsys):
    x = np.arange(40) % 4
    np.savez(tmp_path / "case.npz", x=x, y=x, Cond=x)
    assert main(["estimate", str(tmp_path / "case.npz")]) == 2
    assert "the arrays ['Cond'] would not be read" in capsys.readouterr().err
    assert main(["bound", "pinsker_gain", "information=.02"]) == 0
    assert capsys.readouterr().out == "0.1\n"
