"""Chains in the forms that small models write are read as what they say, and count as mended."""

import json

import pytest

from scoter.reasoning.language.language_model import Answer, Completion, CompletionRequest, Message
from scoter.reasoning.language.lenient import loosely
from scoter.reasoning.language.structured import (
    ask_for_chain,
    count_chains,
    outcome_of,
    parse_chain,
    read_loosely,
)

ROLES = ["recent_item(lag=1)", "needs"]
STEPS = ["Soap was bought.", "A comb: for long hair."]
NAMES = ["Comb", "Brush, round"]


def tree(steps: object, names: object = NAMES) -> str:
    return json.dumps({"steps": steps, "recommendations": names}, indent=2)


FORMS = {
    "strings in order": tree(STEPS),
    "a mapping": tree(dict(zip(ROLES, STEPS, strict=True))),
    "small mappings": tree([{role: text} for role, text in zip(ROLES, STEPS, strict=True)]),
    "steps beside the list": json.dumps(
        {**dict(zip(ROLES, STEPS, strict=True)), "recommendations": NAMES}
    ),
    "abridged roles": tree(
        [{"role": "recent_item", "text": STEPS[0]}, {"role": "Needs", "text": STEPS[1]}]
    ),
    "roles in another order": tree(
        [{"role": role, "text": text} for role, text in zip(ROLES, STEPS, strict=True)][::-1]
    ),
    "labels inside": tree([f"{role}: {text}" for role, text in zip(ROLES, STEPS, strict=True)]),
    "a bracket too many": tree(
        [{"role": role, "text": text} for role, text in zip(ROLES, STEPS, strict=True)]
    ).replace("],", "]],"),
    "a step again": tree(
        [{"role": role, "text": text} for role, text in zip(ROLES * 2, STEPS * 2, strict=True)]
    ),
    "names with prices": tree(STEPS, [{"name": name, "price": 3} for name in NAMES]),
    "labelled lines": f"Sure!\n1. **{ROLES[0]}**: {STEPS[0]}\n2. **Needs:** {STEPS[1]}\n\n"
    "Recommendations:\n- Comb\n- Brush, round\n",
    "numbered lines": f"{ROLES[0]}: {STEPS[0]}\nneeds: {STEPS[1]}\n"
    "### Recommendations\n1. Comb\n2) Brush, round",
    "names after the label": f"{ROLES[0]}: {STEPS[0]}\nneeds: {STEPS[1]}\n"
    "Recommendations: Comb; Brush, round",
}


class Once:
    concurrency = 1

    def __init__(self, text: str) -> None:
        self.text = text

    def complete(self, request: CompletionRequest) -> Completion:
        return Completion(self.text)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_small_model_writes_is_read(form: str) -> None:
    outcome = ask_for_chain(
        Once(FORMS[form]), CompletionRequest((Message("user", "?"),), "m"), ROLES
    )
    assert outcome.chain is not None
    texts = [text.rstrip(".") for text in STEPS]
    assert [(step.role, step.text.rstrip(".")) for step in outcome.chain.steps] == [
        *zip(ROLES, texts, strict=True)
    ]
    assert outcome.chain.recommendations == NAMES
    assert len(outcome.replies) == len(outcome.problems) == 1
    answer = Answer(0, outcome)
    assert (outcome_of(answer), count_chains([answer]).mended) == ("mended", 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would buy a comb: it is good.",
        tree(STEPS[:1]),
        tree([*STEPS, "A third."]),
        tree([{"role": "mood", "text": STEPS[0]}, {"role": "weather", "text": STEPS[1]}]),
        tree(STEPS, []),
        tree(STEPS, [3]),
        tree([STEPS[0], ""]),
        f"needs: {STEPS[1]}\nRecommendations:\n- Comb",
    ],
)
def test_nothing_is_added(text: str) -> None:
    assert read_loosely(text, ROLES) is None


def test_steps_that_name_their_own_roles() -> None:
    chain = read_loosely(tree({"likes": "Soap.", "needs": "A comb."}))
    assert chain is not None
    assert [(step.role, step.text) for step in chain.steps] == [
        ("likes", "Soap."),
        ("needs", "A comb."),
    ]
    assert read_loosely(tree(STEPS[:1])) is None
    whole = tree([{"role": "likes", "text": "Soap."}])
    assert read_loosely(whole) == parse_chain(whole)


def test_a_role_that_comes_twice_keeps_both_texts() -> None:
    """As in discovery, where the model names the roles."""
    steps = [{"likes": "Soap."}, {"likes": "Combs."}, {"needs": "A brush."}]
    (chain,) = loosely([{"steps": steps, "recommendations": ["a brush"]}], "", None)
    assert [step["text"] for step in chain["steps"]] == ["Soap.", "Combs.", "A brush."]
