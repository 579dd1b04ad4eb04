"""`python -m theory verify`: every statement by its id. `python -m theory estimate FILE.npz`: information from samples."""

import argparse
import json
import sys
from dataclasses import asdict


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 where a statement fails, 2 where an argument cannot be honoured."""
    options = _parser().parse_args(arguments)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m theory", description=__doc__)
    commands = parser.add_subparsers(required=True)
    verify = commands.add_parser("verify", help="check every theorem and every false claim by its id")
    effort = verify.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="fewer small models: under a minute")
    effort.add_argument("--full", action="store_true", help="ten times the random joints")
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    verify.set_defaults(run=_verify)
    return parser


def _verify(options: argparse.Namespace) -> int:
    from theory.verify import DEFAULT, FULL, QUICK, run

    results = []
    for result in run(QUICK if options.quick else FULL if options.full else DEFAULT):
        results.append(result)
        if not options.json:
            verdict = "holds" if result.ok else "FAILS"
            print(f"{result.id:5} {verdict}  slack {result.slack:+.2e}  cases {result.cases:7,}  {result.statement}", flush=True)
    ok = all(result.ok for result in results)
    if options.json:
        rows = [{key: value for key, value in asdict(result).items() if key != "seconds"} for result in results]
        print(json.dumps({"ok": ok, "results": rows}))
    elif not ok:
        print("Failed: " + ", ".join(result.id for result in results if not result.ok))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
