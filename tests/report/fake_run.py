"""A run folder such as a finished run leaves, small, and with as little goodwill in its texts as
one likes."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from scoter.evaluation.evaluator import save_user_metrics
from scoter.evaluation.metrics import mean_metrics, per_user
from scoter.evaluation.significance import paired_bootstrap
from scoter.types import UserMetrics

KEY = "9f3c2a71b6e04d58" * 4
STRENGTH = {
    "popularity": 0.02,
    "sasrec-bce": 0.07,
    "sasrec-ce": 0.10,
    "tiger": 0.08,
    "tiger-meanpool": 0.085,
    "scoter": 0.11,
}
ROLES = [
    "recent_item(lag=1)",
    "long_term_category",
    "brand_loyalty",
    "usual_successors(top=5)",
    "recommendation",
]
TITLES = [
    "Rose Water Toner, 8 fl oz",
    "Argan Oil Shampoo",
    "Vitamin C Serum 20 %",
    "Bamboo Brush Set",
    "Matte Lipstick, Brick",
    "Aloe Gel",
]
HOSTILE = [
    "<script>window.harmed = 1</script>",
    '" onload="window.harmed = 1',
    "' onclick='window.harmed = 1",
    "</table></article></section>",
    "</script><img src=x onerror='window.harmed = 1'>",
    "&lt;b&gt;",
    "{{ 7 * 7 }}",
]


PATTERN = {
    "pattern": {
        "steps": [
            {"role": "recent_item", "parameters": {"lag": 1, "field": "brand"}},
            {"role": "recommendation", "parameters": {"count": 5, "window": 3}},
        ],
        "support": 0.375,
        "recall": {"mean": 0.071, "low": 0.063, "high": 0.079, "users": 500},
        "ndcg": {"mean": 0.034, "low": 0.029, "high": 0.039, "users": 500},
        "chosen_on": {"mean": 0.082, "low": 0.07, "high": 0.094, "users": 500},
        "distilled_by": "vote",
        "votes": [1.0, 0.51],
    },
    "clusters": [
        {
            "patterns": [["recent_item(field=brand, lag=2)", "brand_loyalty"], ["brand_loyalty"]],
            "recalls": [0.08, 0.06],
            "support": support,
            "recall": {"mean": 0.07, "low": 0.05, "high": 0.09, "users": 500},
            "ndcg": {"mean": 0.03, "low": 0.02, "high": 0.04, "users": 500},
        }
        for support in (0.375, 0.125)
    ],
    "silhouette": 0.13,
    "rivals": {
        "best generated": {
            **{"mean": 0.066, "low": 0.047, "high": 0.091, "users": 500},
            "steps": ["brand_loyalty"],
            "gain_of_mined": {"mean": 0.005, "low": -0.01, "high": 0.02, "users": 500},
            "ndcg": {"mean": 0.028, "low": 0.017, "high": 0.046, "users": 500},
            "ndcg_gain_of_mined": {"mean": -0.002, "low": -0.009, "high": 0.005, "users": 500},
            "calls": {"choosing": 23500, "fresh": 500},
        }
    },
    "optimism": {"bound": 0.0589, "measured": 0.036},
    "calls": {"choosing": 23500, "fresh": 500},
    "counts": None,
    "note": "",
    "provenance": {"model": "catalog-reasoner (symbolic)", "top_k": 10, "fresh_users": 500},
    "picture_of": "patterns of the catalogue reasoner",
}
"""A mined pattern, in the form of a `pattern.json`."""


def write_fake_explorer(folder: Path) -> Path:
    """An `explorer.json` from the run's examples, with contributions for one method, which missed
    the first user's truth."""
    entries = json.loads((folder / "examples.json").read_text())
    generator = np.random.default_rng(1)
    for number, entry in enumerate(entries):
        for method, listed in entry["recommendations"].items():
            for item in listed:
                item["truth"] = item["title"] == entry["truth"] and not (
                    method == "scoter" and number == 0
                )
        for item in entry["recommendations"]["scoter"]:
            item["contributions"] = generator.normal(size=len(ROLES)).round(4).tolist()
        attention = dict(
            zip(
                [*ROLES, "nothing"],
                generator.dirichlet(np.ones(len(ROLES) + 1)).tolist(),
                strict=True,
            )
        )
        truth = generator.normal(size=len(ROLES)).round(4).tolist()
        rank = 1 if number else 17
        entry["read"] = {
            "scoter": {
                "gate": 0.25,
                "attention": attention,
                "steps": ROLES,
                "truth": truth,
                "rank": rank,
            }
        }
    path = folder / "explorer.json"
    path.write_text(json.dumps(entries))
    return path


def write_fake_run(
    folder: Path, users: int = 2000, titles=TITLES, note="A fixed sample of 2,000 Beauty users."
) -> Path:
    generator = np.random.default_rng(0)
    (folder / "ranks").mkdir(parents=True)
    (folder / "attention").mkdir()
    methods: dict[str, Any] = {}
    kept = {}
    draw, place = generator.random(users), generator.integers(1, 21, users)
    for number, (name, strength) in enumerate(STRENGTH.items()):
        kept[name] = UserMetrics(
            users=np.arange(users), ranks=np.where(draw < strength, place, 0), depth=20
        )
        for split in ("valid", "test"):
            save_user_metrics(kept[name], folder / "ranks" / f"{name}-{split}.parquet")
        epochs = range(1, 31) if number else []
        curve: list[dict[str, float]] = [
            {"epoch": e, "loss": (8 + number) * np.exp(-e / 9) + 2} for e in epochs
        ]
        for entry in curve[4::5]:
            grown = strength * (1 - np.exp(-entry["epoch"] / 9)) * 0.5
            entry |= {"ndcg@10": grown, "recall@10": 1.8 * grown}
        means = mean_metrics(kept[name])
        methods[name] = {
            "metrics": {"valid": means, "test": means},
            "epochs": len(curve),
            "best_epoch": len(curve) and 25,
            **(
                {"cpu_seconds": 17.0 + 321.4 * number, "peak_mib": 402.0 + 97 * number}
                if number
                else {}
            ),
            "parameters": 1_612_345 * number,
            "config": {
                "training": {"epochs": len(curve), "learning_rate": 0.001},
                "note": "<script>alert('config')</script>",
            },
            "curve": curve,
        }
    differences = []
    for metric in ("recall@5", "ndcg@5", "recall@10", "ndcg@10"):
        for worse in ("tiger-meanpool", "tiger", "sasrec-ce"):
            values = [per_user(kept[name], metric) for name in ("scoter", worse)]
            found = paired_bootstrap(*values, seed=0)
            differences.append({"better": "scoter", "worse": worse, "metric": metric} | vars(found))
    for name, slots in (("scoter", ROLES), ("tiger-meanpool", ["all steps, pooled"])):
        attention = generator.dirichlet(np.ones(len(slots) + 1)).tolist()
        found = {
            "roles": [*slots, "nothing"],
            "gate_mean": [0.21, 0.34, 0.52][: len(slots)],
            "attention_mean": attention,
        }
        (folder / "attention" / f"{name}.json").write_text(json.dumps(found))
    examples = [
        {
            "user": user,
            "history": titles[: 3 + user],
            "steps": [
                {
                    "role": role,
                    "sentences": [f"After {titles[0]}, shoppers often take {titles[-1]}."],
                }
                for role in ROLES[:-1]
            ]
            + [{"role": ROLES[-1], "sentences": []}],
            "truth": titles[-1],
            "recommendations": {
                name: [
                    {"title": titles[(i + j) % len(titles)], "score": -1.5 - j} for j in range(5)
                ]
                for i, name in enumerate(STRENGTH)
            },
        }
        for user in (0, 1)
    ]
    (folder / "examples.json").write_text(json.dumps(examples))
    run = {
        **{
            "experiment": "quickstart",
            "dataset": "beauty",
            "seed": 0,
            "users": users,
            "items": 12101,
        },
        **{
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "note": note,
            "full_data": False,
            "methods": methods,
        },
        "config": {},
        "differences": differences,
        "semantic_ids": {
            "method": "rqkmeans",
            "usage": [1.0, 0.98, 0.97],
            "perplexity": [231.2, 220.9, 214.4],
            "collision rate": 0.0123,
        },
        "pattern": PATTERN,
        "versions": {"python": "3.11.9", "numpy": "2.3.1", "torch": "2.9.0"},
        "reasoner": "CatalogReasoner, a symbolic stand-in for a language model",
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "manifest.json").write_text(json.dumps({"key": KEY}))
    return folder
