"""Command line of theory: `verify` the statements, `estimate` information, `selfcheck`."""

import argparse
import io
import json
import sys
from dataclasses import asdict


def main(arguments: list[str] | None = None) -> int:
    """Run the command line: status 1 where a statement fails, 2 for a refused argument."""
    options = _parser().parse_args(arguments)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m theory", description=__doc__)
    commands = parser.add_subparsers(required=True)
    verify = commands.add_parser(
        "verify", help="check every theorem and every false claim by its id"
    )
    effort = verify.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="fewer small models: under a minute")
    effort.add_argument("--full", action="store_true", help="ten times the random joints")
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    verify.set_defaults(run=_verify)
    estimate = commands.add_parser(
        "estimate", help="I(X;Y), or I(X;Y|cond), in nats, of the arrays x, y, cond of a file"
    )
    estimate.add_argument(
        "file",
        metavar="FILE.npz",
        help="arrays x [n, ...], y [n, ...] and, if wanted, cond [n, ...]",
    )
    estimate.add_argument("--estimator", help="a name; chosen by the kinds of data when left out")
    estimate.add_argument("--seed", type=int, default=0)
    estimate.set_defaults(run=_estimate)
    laws = commands.add_parser("selfcheck", help="which laws of information each estimator obeys")
    laws.add_argument("--estimator", help="one name; all when left out")
    laws.set_defaults(run=_selfcheck)
    return parser


def _verify(options: argparse.Namespace) -> int:
    from theory.verify import DEFAULT, FULL, QUICK, run

    results = []
    for result in run(QUICK if options.quick else FULL if options.full else DEFAULT):
        results.append(result)
        if not options.json:
            verdict = "holds" if result.ok else "FAILS"
            print(
                f"{result.id:5} {verdict}  slack {result.slack:+.2e}  cases {result.cases:7,}  "
                f"{result.statement}",
                flush=True,
            )
    ok = all(result.ok for result in results)
    if options.json:
        rows = [
            {key: value for key, value in asdict(result).items() if key != "seconds"}
            for result in results
        ]
        print(json.dumps({"ok": ok, "results": rows}))
    elif not ok:
        print("Failed: " + ", ".join(result.id for result in results if not result.ok))
    return 0 if ok else 1


def _estimate(options: argparse.Namespace) -> int:
    from theory.errors import PremiseError
    from theory.estimators import estimate
    from theory.npz import read_arrays

    try:
        arrays = read_arrays(options.file, needed=("x", "y"), known=("x", "y", "cond"))
        x, y, cond = arrays["x"], arrays["y"], arrays.get("cond")
        found = estimate(x, y, cond=cond, seed=options.seed, estimator=options.estimator)
    except PremiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(found)))
    return 0


def _selfcheck(options: argparse.Namespace) -> int:
    from theory.estimators import ESTIMATORS
    from theory.selfcheck import KNOWN_BREAKS, selfcheck

    if options.estimator is not None and options.estimator not in ESTIMATORS:
        print(
            f"error: estimator = {options.estimator!r}: choose one of {sorted(ESTIMATORS)}",
            file=sys.stderr,
        )
        return 2
    expected = True
    for name in ESTIMATORS if options.estimator is None else [options.estimator]:
        for result in selfcheck(name):
            expected &= result.expected
            why = KNOWN_BREAKS.get((name, result.law), "") if result.verdict == "breaks" else ""
            told = f"{name:18} {result.law:16} {result.verdict:14} gap {result.gap:+.4f}  {why}"
            print(told.rstrip(), flush=True)
    return 0 if expected else 1


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # what the console's encoding lacks is escaped
    sys.exit(main())
