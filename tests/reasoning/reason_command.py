"""`scoter reason` against a server on loopback: in this process, or in a child that can be
killed."""

import hashlib
import json
import multiprocessing
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

ROLES = ("likes", "needs")
SHOP = ("--set", "data.simulated.users=24", "--set", "data.simulated.min_length=6")


def pattern_file(folder: Path) -> Path:
    path = folder / "pattern.json"
    path.write_text(
        json.dumps({"pattern": {"steps": [{"role": role, "parameters": {}} for role in ROLES]}})
    )
    return path


def chain_text(prompt: str) -> str:
    """A valid reply that depends on the history in the prompt alone."""
    word = digest(prompt)[:8]
    steps = [{"role": role, "text": f"{role} {word}."} for role in ROLES]
    return json.dumps({"steps": steps, "recommendations": [f"thing {word}", "soap"]})


def digest(prompt: str) -> str:
    """Of the history alone, so that a question sent back has the digest of the first one."""
    history = re.search(r"\[history\].*\[end of history\]", prompt, re.DOTALL)
    return hashlib.sha256((history[0] if history else prompt).encode()).hexdigest()


def arguments(base: Path, out: Path, *more: str) -> list[str]:
    """A small job: 24 simulated shoppers, one chain for every second item."""
    fixed = [
        "--store",
        str(base / "store"),
        "--pattern",
        str(pattern_file(base)),
        "--out",
        str(out),
    ]
    return ["reason", "simulated", *SHOP, *fixed, "--prefixes", "anchors:2", "--json", *more]


def run_here(*given: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command in this process."""
    from scoter.cli.main import main

    result = CliRunner().invoke(main, [str(one) for one in given])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def reason(given: list[str]) -> dict:
    status, out, err = run_here(*given)
    assert status == 0, err
    return json.loads(out)


def child_of(given: list[str]):
    """A process that runs the command; its modules are loaded once for all such children."""
    import killable

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killable"])
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # Python 3.11 preloads from there alone

    process = context.Process(target=killable.run, args=(given,), daemon=True)
    process.start()
    return process


def rows_of(out: Path) -> list[dict]:
    return [
        row
        for path in sorted(out.glob("chains-*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def bytes_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.is_file()}


def table_of(out: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(out.glob("chains-*.parquet")))
