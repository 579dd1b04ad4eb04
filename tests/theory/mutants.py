"""`make mutants`: does `python -m theory verify --quick` notice every wrong constant or sign?

Every mutant of fixed operators over the functions of theory/bounds, theory/exact and the estimators
that train nothing is tried, none is chosen by hand: numbers, signs, comparisons, logs and their
bases, extremes, indices, dropped terms. Values outside functions and the texts of errors are left
alone. A mutant is caught if a check fails, raises, or takes ten times its time. Those that no input
can tell from the original are listed with the reason in `mutants_equivalent.toml`. Estimators that
train are left out, as their values move with torch's rounding: tests hold them to known truths.

Each mutant runs in a process forked from one that has imported everything, with the code of one
function exchanged, and only the checks that call this function run.
"""

import argparse
import ast
import json
import os
import resource
import signal
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from operator import itemgetter
from pathlib import Path
from types import CodeType, FunctionType

import theory
from theory.bounds import list_envelope
from theory.verify import QUICK, all_checks, check
from theory.verify.worked_values import row_holds, rows

ROOT = Path(theory.__file__).parents[1]
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.toml")
RESULT = ROOT / "benchmarks" / "results" / "mutants.json"
SWAPS = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult],
    ast.Pow: [ast.Mult], ast.MatMult: [], ast.Mod: [ast.Mult], ast.FloorDiv: [ast.Mult],
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq],
    ast.And: [ast.Or], ast.Or: [ast.And],
}  # fmt: skip
NAMES = {
    "log": ["log2", "log1p"], "log2": ["log"], "log1p": ["log"], "expm1": ["exp"],
    "exp": ["exp2", "expm1"], "min": ["max"], "max": ["min"], "minimum": ["maximum"],
    "maximum": ["minimum"], "floor": ["ceil"], "ceil": ["floor"], "argmin": ["argmax"],
    "argmax": ["argmin"], "cumsum": ["cumprod"], "all": ["any"], "any": ["all"],
}  # fmt: skip
TERMS, FACTORS = (ast.Add, ast.Sub), (ast.Mult, ast.Div, ast.MatMult)
CACHED = [list_envelope]
ESTIMATING = ("answer", "copula", "entropies", "nearest_neighbour", "order", "registry")
Check = Callable[[], bool]


@dataclass(frozen=True)
class Mutant:
    """One function with one node changed."""

    module: str
    function: str  # the qualified name of the outermost function
    line: int
    change: str  # what is shown, and what the list of equivalent ones names
    operator: str
    code: CodeType

    @property
    def name(self) -> str:
        return f"{self.module.removeprefix('theory.')}.{self.function}: {self.change}"


def mutated() -> list[str]:
    """The modules whose functions are changed."""
    paths = sorted(p for f in ("bounds", "exact") for p in (ROOT / "theory" / f).glob("[!_]*.py"))
    modules = [f"theory.{path.parent.name}.{path.stem}" for path in paths]
    return modules + [f"theory.estimators.{name}" for name in ESTIMATING]


def mutants_of(module: str, compiled: bool = True) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines; the names alone where not compiled."""
    source = Path(str(import_module(module).__file__)).read_text()
    tree, seen = ast.parse(source), Counter[str]()
    for function, name in _functions(tree):
        for parent, field, place, node in _expressions(function):
            for operator, new in _changes(node, parent, field):
                change = f"{ast.unparse(node)} -> {ast.unparse(new)}"
                seen[f"{name} {change}"] += 1
                count = seen[f"{name} {change}"]
                change += f" ({count})" if count > 1 else ""
                code = compile("", name, "exec")
                if compiled:
                    ast.copy_location(new, node)
                    ast.fix_missing_locations(new)
                    _put(parent, field, place, new)
                    made = compile(tree, source, "exec")
                    _put(parent, field, place, node)
                    code = next(c for c in _codes(made) if c.co_qualname == name)
                yield Mutant(module, name, node.lineno, change, operator, code)


def _put(parent: ast.AST, field: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def _functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node, node.name
        elif isinstance(node, ast.ClassDef):
            methods = (item for item in node.body if isinstance(item, ast.FunctionDef))
            yield from ((method, f"{node.name}.{method.name}") for method in methods)


def _expressions(root: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """(parent, field, place in it, node) of what is computed: no type, text or default."""
    for field, value in ast.iter_fields(root):
        if field in ("annotation", "returns", "decorator_list", "args") and not isinstance(
            root, ast.Call
        ):
            continue
        if isinstance(root, ast.Call) and _is_named(root.func, "require") and field == "keywords":
            continue
        children = value if isinstance(value, list) else [value]
        if isinstance(root, ast.Call) and _is_named(root.func, "require") and field == "args":
            children = children[:1]
        for place, child in enumerate(children):
            if isinstance(child, ast.JoinedStr | ast.Raise) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.expr | ast.AugAssign):
                yield root, field, place if isinstance(value, list) else None, child
            yield from _expressions(child)


def _is_named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _changes(node: ast.AST, parent: ast.AST, field: str) -> Iterator[tuple[str, ast.AST]]:
    """What stands in place of a node, with the name of the operator."""
    if isinstance(node, ast.AugAssign):
        for swap in SWAPS.get(type(node.op), []):
            yield "sign", ast.AugAssign(node.target, swap(), node.value)
    if isinstance(node, ast.Constant):
        yield from _numbers(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield "sign", node.operand
    elif isinstance(node, ast.BinOp):
        for swap in SWAPS.get(type(node.op), []):
            yield "sign", ast.BinOp(node.left, swap(), node.right)
        if isinstance(node.op, TERMS + FACTORS):
            yield "dropped term", node.left
            if isinstance(node.op, ast.Add | ast.Mult):
                yield "dropped term", node.right
    elif isinstance(node, ast.Compare) and len(node.ops) <= 2:
        for place, operator in enumerate(node.ops):
            for swap in SWAPS.get(type(operator), []):
                ops = [*node.ops[:place], swap(), *node.ops[place + 1 :]]
                yield "comparison", ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield "comparison", ast.BoolOp(SWAPS[type(node.op)][0](), node.values)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    index = field == "slice" or isinstance(parent, ast.Slice)
    if index and not isinstance(node, ast.Constant | ast.Slice | ast.Tuple | ast.UnaryOp):
        yield "index", ast.BinOp(node, ast.Add(), ast.Constant(1))


def _numbers(node: ast.Constant) -> Iterator[tuple[str, ast.expr]]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield "constant", ast.Constant(value + 1)
        yield (
            "constant",
            ast.UnaryOp(ast.USub(), ast.Constant(1)) if value == 0 else ast.Constant(value - 1),
        )
    elif isinstance(value, float):
        yield "constant", ast.Constant(2 * value if value else 1.0)
        if value:
            yield "constant", ast.Constant(value / 2)


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    for other in NAMES.get(name, []):
        if isinstance(called, ast.Attribute):
            if isinstance(called.value, ast.Name) and called.value.id == "np":
                func: ast.expr = ast.Attribute(called.value, other, ast.Load())
            elif other in ("min", "max", "argmin", "argmax", "cumprod", "all", "any"):
                func = ast.Attribute(called.value, other, ast.Load())
            else:
                continue
        else:
            func = ast.Name(other, ast.Load())
        kind = "log" if name in ("log", "log2", "log1p", "exp", "expm1") else "extreme"
        yield kind, ast.Call(func, node.args, node.keywords)
    if name in ("log", "log2", "log1p", "exp", "expm1", "sqrt") and len(node.args) == 1:
        yield "log", node.args[0]


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def function_of(module: str, name: str) -> FunctionType:
    """The function that a qualified name means, below its decorators."""
    found: object = import_module(module)
    for part in name.split("."):
        found = vars(found)[part]
    for inner in ("__func__", "fget", "func", "__wrapped__"):
        found = getattr(found, inner, found)
    assert isinstance(found, FunctionType)
    return found


def calls_of(checks: dict[str, Check], modules: Sequence[str]) -> dict[CodeType, dict[str, float]]:
    """Which checks call each function, the quickest first, and their CPU-seconds."""
    files = {str(import_module(module).__file__) for module in modules}
    callers: dict[CodeType, dict[str, float]] = defaultdict(dict)
    for name, run in checks.items():
        called: set[CodeType] = set()

        def note(frame, event, _, called=called):
            if event == "call" and frame.f_code.co_filename in files:
                called.add(frame.f_code)

        for cached in CACHED:
            cached.cache_clear()
        sys.setprofile(note)
        began = time.process_time()
        held = run()
        sys.setprofile(None)
        assert held, f"{name} fails without a mutant"
        for code in called:
            callers[code][name] = time.process_time() - began
    return {code: dict(sorted(by.items(), key=itemgetter(1))) for code, by in callers.items()}


def verdict(mutant: Mutant, checks: dict[str, Check], names: dict[str, float]) -> str:
    """The check that caught a mutant, or "" if it survived; ten times their time is too long."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        signal.alarm(int(10 * sum(names.values())) + 10)
        for cached in CACHED:
            cached.cache_clear()
        function_of(mutant.module, mutant.function).__code__ = mutant.code
        os.write(writer, _first_failure(checks, names).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return said.removesuffix(".") if said else f"time or memory ({status})"


def _first_failure(checks: dict[str, Check], names: Iterable[str]) -> str:
    """The name of the first check that fails and a full stop, which alone means that none did."""
    with redirect_stderr(StringIO()):
        for name in names:
            try:
                held = checks[name]()
            except BaseException:
                return f"{name}."
            if not held:
                return f"{name}."
    return "."


def statement_checks() -> dict[str, Check]:
    """The checks of `python -m theory verify --quick`, the worked values by what is called."""
    by_call = defaultdict(list)
    for row in rows():
        estimator = [text for text in row[1] if text.startswith("estimator=")]
        by_call[" ".join(["W", row[0], *estimator])].append(row)
    checks = {c.id: lambda c=c: check(c, QUICK).ok for c in all_checks() if c.id[0] != "W"}
    return checks | {
        name: lambda mine=mine: all(row_holds(*row).ok for row in mine)
        for name, mine in by_call.items()
    }


def module_of(name: str) -> str:
    """The module of a mutant's name, which begins with it."""
    return next(module for module in mutated() if f"theory.{name}".startswith(f"{module}."))


def equivalent() -> dict[str, str]:
    """The reason why each listed mutant is no other function."""
    listed = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return {name: entry["why"] for entry in listed for name in entry["mutants"]}


def main() -> None:
    """Try every mutant, print the survivors, write the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1, help="mutants at a time")
    parser.add_argument("--only", default="", help="modules whose name has one of these, A,B")
    parser.add_argument("--again", action="store_true", help="only the survivors of the result")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results")
    options = parser.parse_args()
    parts = options.only.split(",")
    modules = [module for module in mutated() if any(part in module for part in parts)]
    checks = statement_checks()
    began = time.process_time()
    for run in checks.values():
        run()
    seconds = time.process_time() - began
    callers, same = calls_of(checks, modules), equivalent()
    tried = [mutant for module in modules for mutant in mutants_of(module)]
    old = json.loads(RESULT.read_text())
    before = {name for name in old["survivors"] if module_of(name) in modules}
    counts = {name: Counter(row) for name, row in old["rows"].items()}
    for module in modules:
        counts[module] = Counter({**counts[module], "survived": 0} if options.again else {})
    if options.again:
        tried = [mutant for mutant in tried if mutant.name in before]
    survivors = [name for name in old["survivors"] if name not in before]

    def state_of(mutant: Mutant) -> str:
        if mutant.name in same:
            return "equivalent"
        names = callers.get(function_of(mutant.module, mutant.function).__code__, {})
        caught = names and verdict(mutant, checks, names)
        return "caught" if caught else "survived"

    with ThreadPoolExecutor(options.processes) as pool:
        for mutant, state in zip(tried, pool.map(state_of, tried), strict=True):
            counts[mutant.module][state] += 1
            if state == "survived":
                survivors.append(mutant.name)
                print(f"survives: line {mutant.line}, {mutant.operator}: {mutant.name}", flush=True)
    total = sum(counts.values(), Counter())
    share = total["caught"] / max(total["caught"] + total["survived"], 1)
    print(f"{total['caught']} caught, {total['survived']} survived, {share:.1%} caught;", end=" ")
    print(f"{total['equivalent']} equivalent; one run of the checks: {seconds:.1f} CPU-seconds")
    if options.write:
        rows = {name: dict(+count) for name, count in counts.items()}
        changed = [name for name in old.get("changed_since", ()) if name not in modules]
        found = {**total, "share": share, "rows": rows, "survivors": survivors}
        found["changed_since"] = changed  # modules whose rows are of an earlier form of their code
        RESULT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
