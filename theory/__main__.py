"""Command line of theory: verify the statements, evaluate a bound, estimate information."""

import argparse
import io
import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import entry_points

from theory.errors import PremiseError

SLACK = "how far the closest case is from refuting a statement; negative refutes it"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line: status 1 where a statement fails, 2 for a refused argument."""
    options = _parser().parse_args(arguments)
    try:
        _load_plugins(options.plugin)
        return options.run(options)
    except PremiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _load_plugins(places: list[str]) -> None:
    """Import each Python file or module of `places`, then every entry point of `theory.plugins`."""
    for place in places:
        try:
            runpy.run_path(place) if place.endswith(".py") else import_module(place)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            remedy = "mend it, or name another Python file or installed module"
            raise PremiseError(
                f"plugin = {place!r} cannot be imported ({reason}): {remedy}"
            ) from error
    for entry in entry_points(group="theory.plugins"):
        entry.load()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m theory", description=__doc__)
    text = "import this FILE_OR_MODULE first, for the estimators and bounds that it registers"
    place = "FILE_OR_MODULE"
    parser.add_argument("--plugin", action="append", default=[], metavar=place, help=text)
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], about: str):
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(run=run)
        return made

    verify = command("verify", _verify, "check every theorem and every false claim by its id")
    effort = verify.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="fewer small models: under a minute")
    effort.add_argument("--full", action="store_true", help="ten times the random joints")
    verify.add_argument("--json", action="store_true", help="print one JSON object")

    bound = command("bound", _bound, "the value of a bound; without a name, all of them")
    bound.add_argument("name", nargs="?", help="a function of theory.bounds, or a registered one")
    bound.add_argument("values", nargs="*", metavar="ARGUMENT=VALUE", help="e.g. items=12101 k=10")

    estimate = command("estimate", _estimate, "I(X;Y), or I(X;Y|cond), in nats, from a file")
    arrays = "arrays x [n, ...], y [n, ...] and, if wanted, cond [n, ...]"
    estimate.add_argument("file", metavar="FILE.npz", help=arrays)
    estimate.add_argument("--estimator", help="a name; chosen by the kinds of data when left out")
    estimate.add_argument("--seed", type=int, default=0)
    estimate.add_argument("--unit", choices=["nats", "bits"], default="nats")
    estimate.add_argument("--json", action="store_true", help="print one JSON object")

    laws = command("selfcheck", _selfcheck, "which laws of information each estimator obeys")
    laws.add_argument("--estimator", help="one name; all when left out")
    return parser


def _verify(options: argparse.Namespace) -> int:
    from theory.verify import DEFAULT, FULL, QUICK, run

    results = []
    for result in run(QUICK if options.quick else FULL if options.full else DEFAULT):
        results.append(result)
        if not options.json:
            verdict = "holds" if result.ok else "FAILS"
            measured = f"slack {result.slack:+.2e}  cases {result.cases:7,}"
            print(f"{result.id:5} {verdict}  {measured}  {result.statement}", flush=True)
    failed = [result.id for result in results if not result.ok]
    if options.json:
        rows = [asdict(result) for result in results]
        for row in rows:
            del row["seconds"]
        print(json.dumps({"ok": not failed, "results": rows}))
    else:
        cases, held = sum(result.cases for result in results), len(results) - len(failed)
        print(f"{held} of {len(results)} statements hold, in {cases:,} cases. Slack: {SLACK}.")
        if failed:
            print("Failed: " + ", ".join(failed))
    return 1 if failed else 0


def _bound(options: argparse.Namespace) -> int:
    from theory.errors import require
    from theory.verify.worked_values import known_bounds, value_of

    known = known_bounds()
    if options.name is None:
        for name, function in known.items():
            print(f"{name:30} {(function.__doc__ or '').strip().partition(chr(10))[0]}".rstrip())
        return 0
    require(options.name in known, f"choose one of {sorted(known)}", name=options.name)
    value = value_of(known[options.name], options.values)
    text = json.dumps(value, default=lambda other: getattr(other, "tolist", lambda: vars(other))())
    print(json.dumps(json.loads(text, parse_constant=str)))  # "Infinity" is no number of JSON
    return 0


def _estimate(options: argparse.Namespace) -> int:
    from theory.estimators import estimate
    from theory.npz import read_arrays

    arrays = read_arrays(options.file, needed=("x", "y"), known=("x", "y", "cond"))
    x, y, cond = arrays["x"], arrays["y"], arrays.get("cond")
    name, unit = options.estimator, options.unit
    result = estimate(x, y, cond=cond, seed=options.seed, estimator=name, unit=unit)
    if not options.json:
        print(result.sentence(conditional=cond is not None))
        return 0
    row = asdict(result)
    del row["pointwise"]
    print(json.dumps(row))
    return 0


def _selfcheck(options: argparse.Namespace) -> int:
    from theory.errors import require
    from theory.estimators import ESTIMATORS
    from theory.selfcheck import KNOWN_BREAKS, selfcheck

    names = list(ESTIMATORS) if options.estimator is None else [options.estimator]
    known = names[0] in ESTIMATORS
    require(known, f"choose one of {sorted(ESTIMATORS)}", estimator=options.estimator)
    expected = True
    for name in names:
        for result in selfcheck(name):
            expected &= result.expected
            why = KNOWN_BREAKS.get((name, result.law), "") if result.verdict == "breaks" else ""
            line = f"{name:18} {result.law:16} {result.verdict:14} gap {result.gap:+.4f}  {why}"
            print(line.rstrip(), flush=True)
    return 0 if expected else 1


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the console's encoding lacks is escaped
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
