"""What a small run is read against: an exact ceiling, or the same methods on a whole benchmark."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from scoter.errors import ConfigError

if TYPE_CHECKING:  # at run time it brings numpy along, and help would be slow
    from scoter.stages.finished import FinishedRun

WHOLE = Path(__file__).with_name("whole_beauty.json")  # `make paper` renews it from the results


def lesson(run: "FinishedRun") -> list[str]:
    """Lines to print below the run's table; none where it is no demonstration."""
    data = run.experiment.data
    if data.simulated is not None:
        from scoter.data.simulated import simulate

        shop = simulate(data.simulated, run.seed)
        try:
            best, unordered = shop.best_recall(10), shop.best_recall_unordered(10)
        except ConfigError:  # too many plans to sum over
            return []
        return [
            f"the best possible recall@10 on this shop is {best:.3f}, and {unordered:.3f} for a "
            "reader",
            "that does not see the order of the steps; beyond chance no method is above the first",
        ]
    if run.outcome["experiment"] != "quickstart":
        return []
    from scoter.report.table import Table

    whole = json.loads(WHOLE.read_text())
    table = Table.of([{"method": name, **found} for name, found in whole.items()])
    return [
        "for comparison: all users of Beauty, full training (committed results)",
        *table.text(ruled=True).splitlines(),
        "The two tables cannot be compared number by number: the sample's catalogue holds only the",
        "items of its users, and TIGER has seen too few of them to have learned much yet, while",
        "counts and chains need less. How the methods compare, the second table says.",
    ]
