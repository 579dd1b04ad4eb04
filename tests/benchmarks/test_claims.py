"""README's claims hold, in its own words, and what speaks for a claim is there."""

import re
from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.claims import HELD, NOT_HELD, UNKNOWN, verdict
from benchmarks.suite.collect import RESULTS
from scoter.errors import DataError

ROOT = Path(__file__).parents[2]
README = " ".join((ROOT / "README.md").read_text().split())
EVERY = [*claims.claims("readme"), *claims.claims("paper")]


@pytest.mark.parametrize("claim", claims.claims("readme"), ids=lambda claim: claim["said"][:40])
def test_readme_says_it_and_it_holds(claim: dict) -> None:
    assert claim["said"] in README
    assert verdict(claim) == HELD


@pytest.mark.parametrize("claim", EVERY, ids=lambda claim: claim["said"][:40])
def test_the_evidence_is_there(claim: dict) -> None:
    assert all((RESULTS / each["file"]).exists() for each in claim.get("value", []))
    for test in claim.get("tests", []):
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text()
        assert f"\ndef {name}(" in text
        assert not re.search(rf"mark\.(slow|language_model)\n(@.*\n)*def {name}\(", text)


def test_an_unknown_verdict_is_not_a_way_around_evidence() -> None:
    for claim in EVERY:
        assert (verdict(claim) == UNKNOWN) != bool({"difference", "value", "tests"} & claim.keys())


def difference(expect: str, **more: object) -> dict:
    rows = {"left": "tiger", "right": ["scoter"], "datasets": ["beauty", "toys"]}
    return {"said": "x", "difference": [{**rows, "expect": expect, **more}]}


def test_verdicts_follow_the_numbers() -> None:
    assert verdict(difference("above")) == NOT_HELD
    assert verdict(difference("level", percent=5)) == NOT_HELD
    assert verdict(difference("at most", percent=5)) == HELD
    calls = {"file": "latency.json", "at": ["language_model_calls"]}
    assert verdict({"said": "x", "value": [{**calls, "equals": 0}]}) == HELD
    assert verdict({"said": "x", "value": [{**calls, "equals": 1}]}) == NOT_HELD
    assert verdict({"said": "x", "value": [{**calls, "least": 1}]}) == NOT_HELD
    assert verdict({"said": "x", "value": [{**calls, "most": -1}]}) == NOT_HELD


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"said": "x"}, "'x' has no evidence"),
        ({"value": [{"file": "no.json", "at": ["a"]}]}, "no.json has nothing at"),
        ({"value": [{"file": "latency.json", "at": ["a"]}]}, "latency.json has nothing at"),
        (
            {"difference": [{**difference("above")["difference"][0], "left": "nobody"}]},
            "nobody and scoter on beauty cannot be compared",
        ),
    ],
)
def test_missing_evidence_is_an_error(claim: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        verdict(claim)
