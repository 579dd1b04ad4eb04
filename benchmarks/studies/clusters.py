"""What further rounds of discovery add on the simulated shop, and the clusters of one discovery.

As many patterns are tried in one, two and four rounds, so a row shows what it gains to vary mined
patterns instead of drawing new ones. The catalogue reasoner writes the chains. `clusters.json` also
holds the points of one picture.
"""

from dataclasses import asdict, replace
from pathlib import Path

import click

from benchmarks.studies import study
from benchmarks.studies.discovery import DiscoveryInputs, shop
from benchmarks.studies.study import Row
from benchmarks.suite.collect import RESULTS
from scoter.storage.store import git_commit

FILE = "clusters.json"
ROUNDS = (1, 2, 4)
SEEDS = (0, 1, 2)


def measure(results: Path = RESULTS) -> Row:
    """Discover on the simulated shop for each seed and number of rounds; write `clusters.json`.

    `rows` hold the mined pattern's recall at fresh shoppers; `points` are those of the first seed's
    last discovery, where cluster 0 is the mined one.
    """
    from scoter.reasoning.discovery.generate import labels

    base = shop()
    outcome: Row = {"dataset": "simulated", "commit": git_commit(), "reasoner": study.REASONER}
    rows: list[Row] = []
    for seed in SEEDS:
        given = DiscoveryInputs.of(base, seed)
        for count in ROUNDS:
            mined = given.discover(replace(base.discover, rounds=count), seed)
            row: Row = {"seed": seed, "rounds": count, "patterns": base.discover.patterns}
            row |= {"steps": list(labels(mined.pattern)), "best_possible": given.best_recall}
            rows.append(row | asdict(mined.recall))
            if seed == SEEDS[0]:
                points = [asdict(point) for point in mined.points]
                outcome["points"] = {"rounds": count, "seed": seed, "rows": points}
                outcome["silhouette"] = mined.silhouette
    outcome |= {"config": asdict(base.discover), "rows": rows}
    study.write(results / FILE, outcome)
    return outcome


@click.command()
@study.results_option
def command(results: Path) -> None:
    for row in measure(results)["rows"]:
        click.echo("seed {seed}, {rounds} rounds: {mean:.4f} [{low:.4f}, {high:.4f}]".format(**row))
