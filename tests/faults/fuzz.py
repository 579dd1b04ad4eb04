"""Coverage-guided fuzzing of every parser and loader: nothing but a `ScoterError` (theory: a
`PremiseError`), no hang, bounded memory.

A target is a reader of one file with a few good files to start from. Inputs that reach lines of
scoter which no input before them reached are kept and mutated further. With `atheris` installed its
libFuzzer drives the same targets (`python tests/faults/fuzz.py TARGET`); here the guidance is
Python's own tracing, so that it runs wherever scoter does.

Mutations are of bytes, of lines, and of the tree where a line or file is JSON or a Python dict: a
node becomes something of another type, a huge number, half of a character pair, or a tower of
brackets.
"""

import ast
import contextlib
import gzip
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_targets import Target, targets

from benchmarks.studies.reliability import Section

_ROOT = Path(__file__).parents[2]
HANG_S = 20
MEMORY = 3 << 30
"""Bytes of address space that a target may take on top of what the process has."""

NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, float("nan"), float("inf"), "",
    "\x00", "\ud83d", "é" * 50,
    "../../../etc/passwd", "__import__('os').system('true')", [], {}, [[]], [None], {"": {}},
    "9" * 5000, [[[[[[1]]]]]],
)  # fmt: skip
TOKENS = (
    b"[" * 3000, b'{"a":' * 2000, b"(" * 400, b"\xff\xfe", b"\x00", b"\n", b"'", b'"', b"\\u d83d",
    b"\\ud83d", b"NaN", b"1e999",
    b"9" * 5000, b"-", b",", b"..", b"None", b"null", b"<a" * 200, b"&#x110000;", b"PAR1",
    b"PK\x03\x04",
)  # fmt: skip


@dataclass
class Fuzzed:
    """How many inputs a target got, how they ended, and what it must not have done."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    lines: int = 0
    slowest: float = 0.0
    crashes: dict[str, str] = field(default_factory=dict)


def measure(quick: bool = False, seconds: float = 20.0, seed: int = 0) -> Section:
    """Fuzz every target for so many CPU-seconds (a tenth with `quick`)."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for target in targets(Path(folder)):
            found[target.name] = fuzz(
                target, Path(folder), seconds / 10 if quick else seconds, seed
            )
    rows = [
        [name, one.inputs, one.read, one.refused, one.lines, one.slowest, len(one.crashes)]
        for name, one in found.items()
    ]
    crashes = [
        f"{name}: {what} ({how})"
        for name, one in found.items()
        for what, how in one.crashes.items()
    ]
    said = (
        f"Each parser and loader got mutated files for {seconds:g} CPU-seconds, guided by the "
        f"lines of scoter that they reach (seed {seed}). All but a named error, more than "
        f"{HANG_S} CPU-seconds for one file, or more than {MEMORY >> 30} GiB of memory counts as "
        "a crash."
    )
    columns = (
        "reader",
        "inputs",
        "read",
        "refused by name",
        "lines reached",
        "slowest, s",
        "crashes",
    )
    return Section("Fuzzing", said, columns, rows, not crashes, crashes)


def fuzz(target: Target, folder: Path, seconds: float, seed: int) -> Fuzzed:
    """Feed one target for so many CPU-seconds."""
    rng, told, seen = random.Random(f"{target.name} {seed}"), Fuzzed(), set()
    corpus = list(target.good)
    path = folder / f"input{target.suffix}"
    with _bounded_memory():
        for content in target.hostile:
            _feed(target, path, content, told, None)
        for content in corpus:
            _feed(target, path, content, told, seen)
    ends = time.process_time() + seconds
    with _bounded_memory():
        while time.process_time() < ends:
            content = mutated(rng.choice(corpus), rng, packed=target.suffix.endswith(".gz"))
            before = len(seen)
            _feed(target, path, content, told, seen)
            if len(seen) > before and len(content) < 1 << 20:
                corpus.append(content)
    told.lines = len(seen)
    return told


def _feed(
    target: Target, path: Path, content: bytes, told: Fuzzed, seen: set[tuple[str, int]] | None
) -> None:
    path.write_bytes(content)
    told.inputs += 1
    began = time.process_time()
    try:
        with _alarm(), contextlib.nullcontext() if seen is None else _traced(seen):
            target.read(path)
        told.read += 1
    except target.refuses as error:
        told.refused += 1
        if not str(error).strip():
            told.crashes["an error that says nothing"] = _shown(content)
    except BaseException as error:  # whatever else there is, is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        kind = f"{type(error).__name__} in {_place(error)}"
        if kind not in {known.partition(": ")[0] for known in told.crashes}:
            told.crashes[f"{kind}: {str(error)[:100]}"] = _shown(content)
        _kept(target, error, content)
    told.slowest = max(told.slowest, time.process_time() - began)


def mutated(content: bytes, rng: random.Random, packed: bool = False) -> bytes:
    """A damaged copy; of a packed file usually what is inside."""
    if packed and rng.random() < 0.8:
        with contextlib.suppress(OSError, EOFError, zlib.error):
            return gzip.compress(mutated(gzip.decompress(content), rng), 1)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice((_bytes, _bytes, _tokens, _lines, _tree, _tree))(content, rng)
    return content


def _bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\x00")
    for _ in range(rng.choice((1, 2, 8))):
        place = rng.randrange(len(changed))
        kind = rng.randrange(4)
        if kind == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2 and len(changed) > 1:
            del changed[place : place + rng.choice((1, 4, len(changed)))]
            changed = changed or bytearray(b"\x00")
        else:
            changed[place:place] = changed[place : place + rng.choice((1, 8, 64))]
    return bytes(changed)


def _tokens(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(TOKENS) + content[place + rng.choice((0, 0, 8)) :]


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        lines.insert(place, rng.choice(lines))
    elif kind == 1:
        del lines[place]
    else:
        lines[place] = _bytes(lines[place], rng)
    return b"\n".join(lines)


def _tree(content: bytes, rng: random.Random) -> bytes:
    """The whole file, or one of its lines, with a node of its tree replaced."""
    lines = [content] if rng.random() < 0.3 else content.split(b"\n")
    place = rng.randrange(len(lines))
    for load, dump in ((json.loads, json.dumps), (_literal, repr)):
        try:
            tree = load(lines[place].decode())
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        lines[place] = dump(_replaced(tree, rng)).encode(errors="surrogatepass")
        return b"\n".join(lines)
    return _bytes(content, rng)


def _literal(text: str) -> Any:
    if len(text) > 1 << 16:
        raise ValueError("too long for a mutation")
    return ast.literal_eval(text)


def _replaced(tree: Any, rng: random.Random) -> Any:
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        name = rng.choice(list(tree))
        kind = rng.random()
        if kind < 0.1:
            return {key: value for key, value in tree.items() if key != name}
        if kind < 0.15:
            return {**tree, rng.choice(("unknown", "", *tree)): rng.choice(NASTY)}
        return {**tree, name: _replaced(tree[name], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.85:
        place = rng.randrange(len(tree))
        return [*tree[:place], _replaced(tree[place], rng), *tree[place + rng.choice((0, 1)) :]]
    return rng.choice(NASTY)


def _ours(name: str) -> bool:
    return any(name.startswith(f"{_ROOT}/{room}/") for room in ("scoter", "theory"))


@contextlib.contextmanager
def _traced(seen: set[tuple[str, int]]) -> Iterator[None]:
    """Add every line of scoter or theory that is run meanwhile."""

    def trace(frame: Any, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not _ours(name):
            return None
        seen.add((name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def late(number: int, frame: Any) -> None:
        raise TimeoutError(f"more than {HANG_S} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(
        signal.ITIMER_PROF, HANG_S
    )  # of the processor's time, so that a busy machine makes no hang
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _bounded_memory() -> Iterator[None]:
    """An address space that ends `MEMORY` bytes above what the process has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _place(error: BaseException) -> str:
    """The last line of scoter or theory that an error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _ours(frame.filename)]
    return (
        f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "no line of scoter"
    )


def _shown(content: bytes) -> str:
    return f"{len(content):,} bytes, {content[:40]!r}"


def _kept(target: Target, error: BaseException, content: bytes) -> None:
    """The input that a crash needs, in a folder for whoever mends it."""
    folder = Path(tempfile.gettempdir()) / "scoter-crashes"
    folder.mkdir(exist_ok=True)
    (folder / f"{target.name.replace(' ', '-')}-{type(error).__name__}{target.suffix}").write_bytes(
        content
    )


def _with_atheris(names: Sequence[str]) -> None:
    """Hand one target to libFuzzer:
    `python tests/faults/fuzz.py NAME [libFuzzer's options]`."""
    import atheris  # pyright: ignore[reportMissingModuleSource]

    with tempfile.TemporaryDirectory() as folder:
        chosen = next(target for target in targets(Path(folder)) if target.name == names[0])
        path = Path(folder) / f"input{chosen.suffix}"

        def one(content: bytes) -> None:
            path.write_bytes(content)
            with contextlib.suppress(*chosen.refuses):
                chosen.read(path)

        atheris.instrument_all()  # pyright: ignore[reportAttributeAccessIssue]
        atheris.Setup([sys.argv[0], *names[1:]], one)
        atheris.Fuzz()


if __name__ == "__main__":
    _with_atheris(sys.argv[1:])
