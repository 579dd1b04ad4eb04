"""What README and the paper's abstracts claim, with the evidence and a verdict for each claim.

`claims.toml` lists the claims and explains what can be evidence.
"""

import operator
import tomllib
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.rerun import TIMES, committed
from benchmarks.studies import study
from benchmarks.suite.collect import RESULTS
from benchmarks.tables import comparisons
from benchmarks.tables.comparisons import COMPARED
from benchmarks.tables.table import Page, Table, interval
from benchmarks.tables.tables import mean_over_users
from scoter.errors import DataError
from scoter.report.page import cpu_time

FILE = Path(__file__).with_name("claims.toml")
HELD, NOT_HELD, UNKNOWN = "held", "**not held**", "could not be tested"

_TOLERANCES = {
    "above": "interval above 0",
    "level": "interval within {percent} %",
    "at most": "interval's upper end at most {percent} %",
}

_RULES = {"equals": operator.eq, "least": operator.ge, "most": operator.le}
Claim = Mapping[str, Any]


def claims(about: str) -> list[Claim]:
    """The claims of the `readme` or of the `paper`."""
    return [each for each in tomllib.loads(FILE.read_text())["claim"] if each["about"] == about]


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """A table of the claims of README, and one of those of the paper."""
    heads = ["claim", "evidence", "files", "command", "CPU time", "tolerance", "verdict"]
    rows = {about: [_row(each, results) for each in claims(about)] for about in ("readme", "paper")}
    return {about: Page([Table(heads, cells, "llllrll")]) for about, cells in rows.items()}


def verdict(claim: Claim, results: Path = RESULTS) -> str:
    """Whether all evidence speaks for a claim; `UNKNOWN` where it says that none can be had."""
    if "untestable" in claim:
        return UNKNOWN
    checks = [*_differences(claim, results), *_values(claim, results)]
    if not checks and not claim.get("tests"):
        raise DataError(f"{FILE.name}: the claim {claim['said']!r} has no evidence")
    return HELD if all(passed for _, passed in checks) else NOT_HELD


def _row(claim: Claim, results: Path) -> list[str]:
    measured, expected = _differences(claim, results), claim.get("difference", [])
    parts = [text for text, _ in _values(claim, results)]
    parts += [f"`{test}`" for test in claim.get("tests", [])]
    files = [f"`{each['file']}`" for each in claim.get("value", [])]
    if measured:
        closest, passed = measured[0][0], sum(passed for _, passed in measured)
        parts.append(f"{passed} of {len(measured)} differences; the least favourable: {closest}")
        files.append("`main.parquet`, `ranks/`")
    return [
        claim["said"],
        claim.get("untestable") or "; ".join(parts),
        ", ".join(dict.fromkeys(files)),
        f"`{claim['command']}`" if "command" in claim else "",
        _spent(claim.get("command", ""), results),
        "; ".join(_TOLERANCES[each["expect"]].format_map(each) for each in expected),
        verdict(claim, results),
    ]


def _spent(command: str, results: Path) -> str:
    """CPU time of a command: of training the row that it names, or as `times.json` has it."""
    _, names_row, row = command.partition("ROW=")
    if names_row:
        return cpu_time(3600 * committed(row, results)["cpu_hours"])
    measured = study.read(results / TIMES, {}).get(command, {})
    return cpu_time(measured.get("cpu_seconds"))


def _differences(claim: Claim, results: Path) -> list[tuple[str, bool]]:
    """Each measured difference in words and whether it is as claimed; the closest call first."""
    found = []
    for each in claim.get("difference", []):
        for dataset, right, metric in product(each["datasets"], each["right"], COMPARED):
            gap = comparisons.difference(results, dataset, each["left"], right, metric)
            beside = mean_over_users(results, dataset, right, metric)
            if gap is None or beside is None:
                names = f"{each['left']} and {right} on {dataset}"
                raise DataError(f"{FILE.name}: {names} cannot be compared; were both collected?")
            limit = each.get("percent", 0) / 100 * beside.mean
            margins = {"above": gap.low, "at most": limit - gap.high}
            margins["level"] = min(limit - gap.high, gap.low + limit)
            text = f"{dataset} {metric}, {each['left']} - {right}: {interval(gap)}"
            margin = margins[each["expect"]]
            found.append((margin / beside.mean, text, margin > 0))
    return [(text, passed) for _, text, passed in sorted(found)]


def _values(claim: Claim, results: Path) -> list[tuple[str, bool]]:
    """Each value of a results file in words, and whether it is as claimed."""
    found = []
    for each in claim.get("value", []):
        value = study.read(results / each["file"], None)
        for part in each["at"]:
            if value is None or part not in value:
                raise DataError(f"{FILE.name}: {each['file']} has nothing at {each['at']}")
            value = value[part]
        shown = f"{value:.4g}" if isinstance(value, float) else value
        if isinstance(value, dict):  # a difference with its interval, of which the low end counts
            shown, value = interval(value), value["low"]
        wanted = {word: each[word] for word in _RULES if word in each}
        passed = all(_RULES[word](value, limit) for word, limit in wanted.items())
        rule = ", ".join(f"{word} {limit}" for word, limit in wanted.items())
        found.append((f"{' / '.join(each['at'])} = {shown} ({rule})", passed))
    return found
