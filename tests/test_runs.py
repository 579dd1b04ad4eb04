"""`scoter.run` against the files of the run and against the evaluation of estimators."""

import json

import pytest

import scoter
from scoter.errors import ConfigError

TINY = (
    "data.simulated.users=150",
    "methods.*.training.epochs=1",
    "methods.*.training.evaluate_every=1",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> "scoter.Run":
    store = tmp_path_factory.mktemp("store")
    return scoter.run("simulated-smoke", seed=1, overrides=TINY, store=store)


def test_metrics_and_differences_are_those_of_the_run(run: "scoter.Run") -> None:
    outcome = json.loads(run.artefact.file("run.json").read_text())
    assert list(run.metrics.index.get_level_values("method").unique()) == list(outcome["methods"])
    for (method, metric), row in run.metrics.iterrows():
        assert row["mean"] == pytest.approx(outcome["methods"][method]["metrics"]["test"][metric])
        assert row["low"] <= row["mean"] <= row["high"]
    assert run.differences.to_dict("records") == outcome["differences"]


def test_per_user_rows_average_to_the_metrics(run: "scoter.Run") -> None:
    means = run.per_user.groupby("method")["ndcg@10"].mean()
    for method, mean in means.items():
        assert mean == pytest.approx(run.metrics.loc[(method, "ndcg@10"), "mean"])
    assert set(run.per_user["user"]) <= set(run.data[0].user_keys)


def test_differences_agree_with_the_evaluations(run: "scoter.Run") -> None:
    first = run.differences.iloc[0]
    gap = run.evaluations[first["better"]].minus(run.evaluations[first["worse"]])
    assert gap.loc[first["metric"], "mean"] == pytest.approx(first["mean"])


def test_a_method_recommends_as_an_estimator(run: "scoter.Run") -> None:
    answers = run.model("scoter").recommend(list(run.data[0].user_keys[:2]), k=3)
    assert list(answers["rank"]) == [1, 2, 3] * 2
    assert set(answers["item"]) <= set(run.data[1].keys)


def test_an_unknown_experiment_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'simulated-smoke'"):
        scoter.run("simulated-smok")
