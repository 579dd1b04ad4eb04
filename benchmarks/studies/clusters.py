"""`python -m benchmarks clusters`: one discovery, drawn and counted: its clusters on a plane, and
what further rounds bring.

The same number of patterns is tried whatever the number of rounds, so a row says what varying what
was mined is worth over drawing anew. Chains are the catalogue reasoner's, a symbolic stand-in for a
language model.
"""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.studies.discovery import PATTERNS, experiment_of
from benchmarks.suite.collect import RESULTS
from scoter.seeding import derive_seed

FILE = "clusters.json"
ROUNDS = (1, 2, 4)
SEEDS = (0, 1, 2)


def measure(
    results: Path = RESULTS,
    rounds: tuple[int, ...] = ROUNDS,
    seeds: tuple[int, ...] = SEEDS,
    patterns: int = PATTERNS,
) -> dict[str, Any]:
    """Discover on the simulated shop once for each number of rounds and seed; the points kept are
    the first seed's last.

    Returns what is written to `clusters.json`: `rows` with the mined pattern's recall at fresh
    shoppers, `points` of the picture with their cluster (0 is the mined one) and recall.
    """
    from scoter.data.simulated import simulate
    from scoter.reasoning.discovery.generate import labels
    from scoter.reasoning.discovery.mine import discover
    from scoter.semantic_ids.vectors import text_fields
    from scoter.stages.context import Context, sentence_encoder
    from scoter.stages.data import open_data, prepare
    from scoter.storage import sentence_vectors as text
    from scoter.storage.store import Store, git_commit

    base = experiment_of("simulated")
    assert base.data.simulated is not None
    outcome: dict[str, Any] = {
        "dataset": "simulated",
        "commit": git_commit(),
        "reasoner": "catalog-reasoner (symbolic)",
    }
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        context = Context(base, Store(), seed, lambda line: None)
        _, catalog, split = open_data(prepare(context, None))
        encode = sentence_encoder(context)
        vectors = encode(text.item_texts(catalog, text_fields(catalog, base.text.fields)))
        best = simulate(base.data.simulated, seed).best_recall(base.discover.top_k)
        for count in rounds:
            config = replace(base.discover, patterns=patterns, rounds=count)
            found = discover(split, catalog, config, encode, vectors, derive_seed(seed, "discover"))
            about = {
                "seed": seed,
                "rounds": count,
                "patterns": patterns,
                "steps": list(labels(found.pattern)),
            }
            rows.append({**about, "best_possible": best, **asdict(found.recall)})
            if seed == seeds[0]:
                points = {
                    "rounds": count,
                    "seed": seed,
                    "rows": [asdict(point) for point in found.points],
                }
                outcome |= {"points": points, "silhouette": found.silhouette}
    outcome |= {"config": asdict(replace(base.discover, patterns=patterns)), "rows": rows}
    partial = Path(results) / f"{FILE}.partial"
    partial.write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, Path(results) / FILE)
    return outcome
