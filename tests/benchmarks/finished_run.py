"""A finished run in a folder, its ranks drawn so that TIGER is worse than SCoTER by a known
rule."""

import json
from pathlib import Path

import numpy as np

from scoter.evaluation.evaluator import save_user_metrics
from scoter.evaluation.metrics import mean_metrics
from scoter.types import UserMetrics

COMMIT = "0123456789abcdef0123456789abcdef01234567"
USERS = 600


def draw_ranks(method: str, seed: int, split: str, unseen: bool = False) -> UserMetrics:
    """SCoTER has every user's rank of TIGER, but each tenth user is found at rank 1.

    With `unseen`, each fourth user has had the target, and all have had the items of odd ranks.
    """
    generator = np.random.default_rng([seed, split == "test"])
    ranks = np.where(generator.random(USERS) < 0.2, generator.integers(1, 21, USERS), 0)
    if method == "scoter":
        ranks[::10] = 1
    if method == "popularity":
        ranks[:] = 0
    if not unseen:
        return UserMetrics(users=np.arange(USERS), ranks=ranks, depth=20)
    before = np.where(np.arange(USERS) % 4 == 0, -1, np.where(ranks > 0, (ranks - 1) // 2, 10))
    return UserMetrics(np.arange(USERS), ranks, 20, before)


def write_run(
    folder: Path, methods=("scoter", "tiger", "popularity"), seed=0, key="", unseen=False, **changes
) -> Path:
    made = {}
    (folder / "ranks").mkdir(parents=True)
    for method in methods:
        kept = {split: draw_ranks(method, seed, split, unseen) for split in ("valid", "test")}
        for split, ranks in kept.items():
            save_user_metrics(ranks, folder / "ranks" / f"{method}-{split}.parquet")
        made[method] = {
            "metrics": {split: mean_metrics(ranks) for split, ranks in kept.items()},
            "epochs": 12,
            "best_epoch": 10,
            "cpu_seconds": 5400.0,
            "peak_mib": 812.5,
            "parameters": 1_600_000,
            "config": {"training": {"epochs": 12}},
            "curve": [],
        }
    run = {
        "experiment": "beauty-all",
        "dataset": "beauty",
        "seed": seed,
        "commit": COMMIT,
        "note": "",
    }
    run |= {"full_data": True, "methods": made, "versions": {"numpy": "2.0"}, **changes}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "manifest.json").write_text(json.dumps({"key": key or f"run-{seed}"}))
    return folder
