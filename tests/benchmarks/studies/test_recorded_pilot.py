"""What a table of chains holds is counted as by hand, and its page says what was measured."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from benchmarks.studies.pilot import grounded, roles
from benchmarks.studies.study import put
from benchmarks.tables.pilot_page import page, pages
from scoter.types import Catalog

CHAINS = pd.DataFrame(
    {
        "key": ["a", "b", "c"],
        "steps": [
            [{"role": "use", "text": "to wash"}, {"role": "next", "text": "a towel"}],
            [{"role": "use", "text": "to wash"}],
            [{"role": "use", "text": "to dry one's hair"}],
        ],
        "recommendations": [["red soap", "green towel"], [], ["green towel"]],
    }
)


def test_roles_are_counted():
    assert roles(CHAINS) == [
        {"role": "use", "chains": 3, "words": 8 / 3, "distinct": 2 / 3},
        {"role": "next", "chains": 1, "words": 2.0, "distinct": 1.0},
    ]


def test_named_products_mean_items_or_none(monkeypatch):
    def encode(texts):
        return np.zeros((len(texts), 2))

    monkeypatch.setattr("benchmarks.studies.pilot.sentence_encoder", lambda context: encode)
    monkeypatch.setattr("scoter.reasoning.discovery.grounding.LEAST", 0.4)
    text = SimpleNamespace(fields=("title",))
    context = SimpleNamespace(experiment=SimpleNamespace(text=text))
    catalog = Catalog(("b", "a", "c"), {"title": ("blue hat", "red soap", "garden hose")})
    found = grounded(CHAINS, catalog, context)
    assert found == {"names": 3, "share": 1 / 3, "the item itself": 1 / 3}


def test_the_page_has_every_addition(tmp_path):
    part = {"mean": 0.01, "low": -0.02, "high": 0.04, "users": 10}
    row = {"what": "chain over counts", "users": 10, "nats": part, "recall": part, "ndcg": part}
    made = {"dataset": "beauty", "seed": 0, "commit": "abcdef0123456789", "recommender": "tiger"}
    made |= {"rows": [row], "by_last_item": [{**row, "what": "21 times or more"}]}
    made |= {"chains_of_items": 3, "items": 6, "roles": roles(CHAINS), "verdict": "no: too little"}
    made |= {"grounded": {"names": 3, "share": 1 / 3, "the item itself": 0.0}, "cpu_seconds": 90.0}
    put(tmp_path / "pilot.json", "beauty-model", made)
    text = pages(tmp_path)["beauty-model"].markdown()
    assert text == page(made).markdown()
    assert "| use | 3 | 2.7 | 67% |" in text
    both = "+0.0100 [-0.0200, +0.0400] | +0.0100 [-0.0200, +0.0400] | +0.0100 [-0.0200, +0.0400]"
    assert f"| 21 times or more | 10 | {both} |" in text
    assert "3 of 6 items have a chain" in text
    assert "no: too little" in text
