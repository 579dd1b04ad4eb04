"""What every stage makes of a small simulated shop, in short, and whether that fits its version.

Run as a script, it renews `goldens.json` beside it, and refuses where a version was not bumped.
"""

import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from scoter import pipeline
from scoter.config import Experiment, FusionConfig, with_overrides
from scoter.experiments import experiment, methods
from scoter.serving.explorer import explore
from scoter.stages import discovery
from scoter.stages.context import VERSIONS, Context
from scoter.storage import sentence_vectors as text
from scoter.storage.store import MANIFEST, Artefact, Store
from scoter.types import Step

FILE = Path(__file__).with_name("goldens.json")
RENEW = "python tests/golden_outputs.py"
TOLERANCE = 2e-3  # more than the instruction sets of processors move a sketch

# Costs and origins, which differ from run to run; the order of items, which turns where scores are
# almost equal; and what a run copies from its inputs.
LEFT_OUT = re.compile(
    r"(\w*seconds(\..*)?|peak_mib|commit|.*trained_at|versions\..*"
    r"|artefacts\..*|.*\.train|(.*\.)?origin"
    r"|items|ranks?|unseen_before|.*\.undecided@.*"
    r"|recommendations\..*\.(title|truth)|read\..*\.rank"
    r"|config\..*|methods\..*\.(config|curve|\w*seconds|peak_mib).*|semantic_ids\..*)"
)


def shop() -> Experiment:
    """Every kind of model, for one epoch each, in fp32.

    Semantic IDs are RQ-k-means of texts. The axes of co-occurrence and the codes of an RQ-VAE that
    is hardly trained differ between processors, so they have no golden.
    """
    small = experiment("simulated-controls-all")
    arms = {name: small.methods[name] for name in ("tiger", "scoter")}
    votes = FusionConfig(grounded=True, slots="sentence", votes=True)
    arms["listed"] = replace(arms["scoter"], fusion=votes)
    arms["mixed"] = small.methods["control-mixed-scores"]
    training = arms["tiger"].training
    others = methods()
    for name in ("popularity", "sasrec-bce", "gru4rec-scoter"):
        model = with_overrides(others[name].model, [] if name == "popularity" else ["dim=16"])
        arms[name] = replace(others[name], model=model, training=training)
    steps = (*small.pattern, Step("likely_next", {"what": "item", "count": 2, "window": 3}))
    settings = (
        "data.simulated.users=60",
        "discover.patterns=8",
        "discover.rounds=1",
        "discover.recommender=popularity",
        "discover.users=40",
        "discover.fresh_users=20",
        "methods.*.training.epochs=1",
        "methods.*.training.batch_targets=64",
        "methods.*.training.evaluate_every=1",
        "methods.*.training.precision=fp32",
    )
    return with_overrides(replace(small, methods=arms, pattern=steps), settings)


METHODS = frozenset(shop().methods)


def outputs(store: Store) -> dict[str, dict[str, Any]]:
    """In the order of `VERSIONS`: which stages each was made from, and what it made."""
    config, seed = shop(), 0
    context = Context(config, store, seed, lambda line: None)
    with encoder_in_fp32():
        run = pipeline.run(config, store=store)
        known = json.loads(run.file("run.json").read_text())["artefacts"]
        prepared = store.find("prepare", known["prepare"])
        mined = discovery.discover_pattern(context, prepared)
        with mock.patch("scoter.serving.explorer.SHOWN", 5):
            explore(store, run)
    assert mined.stage == "discover"
    stage_of = {artefact.key: artefact.stage for artefact in store.artefacts()}
    made: dict[str, dict[str, Any]] = {}
    for stage in VERSIONS:
        artefacts = sorted(store.artefacts(stage), key=_recipe)
        keys = {key for artefact in artefacts for key in artefact.manifest()["inputs"]}
        inputs = {stage_of[key] for key in keys & set(stage_of)}
        summaries = [_summary(artefact) for artefact in artefacts]
        if summaries:
            made[stage] = {"after": sorted(inputs), "made": summaries}
    return made


@contextmanager
def encoder_in_fp32() -> Iterator[None]:
    """The sentence encoder in fp32, also where the processor multiplies bf16 natively."""
    text._load.cache_clear()
    with mock.patch.object(text, "_precision", return_value="fp32"):
        yield
    text._load.cache_clear()


Outputs = Mapping[str, Mapping[str, Any]]


def problems(goldens: Outputs, made: Outputs, versions: Mapping[str, int]) -> list[str]:
    """One line for each stage whose golden, output and version do not fit, with what to do.

    A stage after one whose output changed has other inputs, so nothing can be said of it.
    """
    both = set(goldens) & set(made)
    differences = {stage: _difference(goldens[stage], made[stage]) for stage in both}
    changed = {stage for stage, difference in differences.items() if difference}
    lines = []
    for stage, version in versions.items():
        golden = goldens.get(stage)
        if stage not in made:
            lines.append(f"the stage {stage!r} has no golden; add its output to golden_outputs.py")
        elif golden is None:
            lines.append(f"the stage {stage!r} has no golden; make it with `{RENEW}`")
        elif golden["version"] != version:
            lines.append(
                f"VERSIONS[{stage!r}] is {version}, and its golden was made with "
                f"{golden['version']}; renew the goldens with `{RENEW}`"
            )
        elif stage in changed and not _ancestors(stage, made) & changed:
            lines.append(
                f"the output of the stage {stage!r} changed ({differences[stage]}), and its "
                f"version is {version} as before; bump VERSIONS[{stage!r}] in "
                f"scoter/stages/context.py if that is meant, and renew the goldens with `{RENEW}`"
            )
    return lines


def forgotten(goldens: Outputs, made: Outputs, versions: Mapping[str, int]) -> list[str]:
    """Those of `problems` that a renewal would hide: an output changed, and its version did not."""
    return [line for line in problems(goldens, made, versions) if "as before" in line]


def _recipe(artefact: Artefact) -> str:
    manifest = artefact.manifest()
    return json.dumps(manifest["config"], sort_keys=True)


def _ancestors(stage: str, made: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for before in made.get(stage, {"after": []})["after"]:
        found |= {before} | _ancestors(before, made)
    return found


def _summary(artefact: Artefact) -> dict[str, Any]:
    """Each file: a hash of its whole numbers and texts, and a sketch of each field of fractions."""
    files = {}
    for path in sorted(artefact.path.rglob("*")):
        if path.is_dir() or path.name == MANIFEST:
            continue
        exact: dict[str, Any] = {}
        close: dict[str, list[float]] = {}
        for field, values in _fields(path):
            if LEFT_OUT.fullmatch(field):
                continue
            if values and all(isinstance(value, float) for value in values):
                close[field] = _sketch(np.array(values))
            else:
                exact[field] = values
        exact_text = json.dumps(exact, sort_keys=True).encode()
        digest = hashlib.sha256(exact_text).hexdigest()[:16]
        files[path.relative_to(artefact.path).as_posix()] = {"exact": digest, "close": close}
    return files


def _fields(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Each field of a file, with its values in order; all of a model's weights are one field."""
    fields: dict[str, list[Any]] = {}
    if path.suffix == ".safetensors":
        for name, array in sorted(load_file(path).items()):
            fields[f"shape of {name}"] = [*array.shape]
            field = "weights" if path.stem == "weights" else name
            fields.setdefault(field, []).extend(array.ravel().tolist())
    elif path.suffix == ".parquet":
        table = pq.read_table(path)
        fields = {name: table[name].to_pylist() for name in table.column_names}
    elif path.suffix == ".json":
        for place, value in _leaves(json.loads(path.read_text()), ()):
            fields.setdefault(place, []).append(value)
    yield from fields.items()


def _leaves(tree: Any, place: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every leaf of a JSON tree by its keys; those of a list and of all methods share a place."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*place, "METHOD" if key in METHODS else key))
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value, place)
    else:
        yield ".".join(place), tree


def _sketch(values: np.ndarray) -> list[float]:
    """Root mean square, and three random projections in its units: all four are about one number.

    A change by a share of all values moves a projection by about that share.
    """
    known = np.nan_to_num(values.astype(np.float64), neginf=0, posinf=0)
    size = float(np.sqrt((known**2).mean()))
    if size < TOLERANCE:
        return [0.0, 0.0, 0.0, 0.0]
    directions = np.random.default_rng(0).standard_normal((3, len(known)))
    projections = directions @ known / (size * len(known) ** 0.5)
    return [float(f"{size:.5g}"), *projections.round(4).tolist()]


def _difference(golden: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """The first field in which two outputs of a stage differ; empty where they are alike."""
    if len(golden["made"]) != len(made["made"]):
        return f"{len(made['made'])} artefacts instead of {len(golden['made'])}"
    for before, now in zip(golden["made"], made["made"], strict=True):
        if set(before) != set(now):
            return f"the files {sorted(now)} instead of {sorted(before)}"
        for name in now:
            old, new = before[name], now[name]
            if old["exact"] != new["exact"]:
                return f"whole numbers or text in {name}"
            if set(old["close"]) != set(new["close"]):
                return f"the fields of {name}"
            for field, sketch in new["close"].items():
                if not np.allclose(sketch, old["close"][field], rtol=TOLERANCE, atol=TOLERANCE):
                    return f"{field} of {name} is {sketch} instead of {old['close'][field]}"
    return ""


def _on_one_line(numbers: re.Match[str]) -> str:
    return "[" + " ".join(numbers[1].split()) + "]"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = outputs(Store(Path(folder) / "store"))
    goldens = json.loads(FILE.read_text()) if FILE.exists() else {}
    if lines := forgotten(goldens, made, VERSIONS):
        sys.exit("\n".join(["nothing was renewed", *lines]))
    renewed = {stage: {"version": VERSIONS[stage], **output} for stage, output in made.items()}
    lines = re.sub(r"\[\s+([-\d.e,\s]+?)\s+\]", _on_one_line, json.dumps(renewed, indent=1))
    FILE.write_text(lines + "\n")
    print(f"{FILE}: {len(renewed)} stages")


if __name__ == "__main__":
    main()
