"""All rows of the benchmark, as one JSON-ready object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from benchmarks.speed import training
from benchmarks.speed.decoding import OurDecoding, ReferenceDecoding, agreement, sample
from benchmarks.speed.limits import decoding_flops, peak_flops, sliding_flops, training_flops
from benchmarks.speed.peers import Row, peer_rows
from benchmarks.speed.timing import Contender, Sample, alternate, machine, ratio, summary
from benchmarks.speed.training import OurTraining, ReferenceTraining, build, loss_difference
from benchmarks.speed.work import SIZE, Work, open_work
from scoter.errors import ScoterError
from scoter.models.training.batches import cut_windows, training_batches
from scoter.models.training.memory import peak_mib
from scoter.models.training.precision import resolve_precision

Softmax = Literal["trie", "vocabulary"]
LEVELS = 4
SAME = 1e-4
TRAINED = {
    "ours": "scoter, all targets of a user in one pass",
    "theirs": "transformers T5, sliding windows",
    "similar": "transformers T5, sliding windows, batches of similar length",
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class DifferentFunctionsError(ScoterError):
    """With equal weights and work both sides compute different things, so speeds say nothing."""


@dataclass(frozen=True)
class Amount:
    """How much each side does in one repeat."""

    our_batches: int = 4
    our_budget: int = training.CONFIG.batch_targets  # targets in a batch
    their_batches: int = 1
    their_rows: int = training.REFERENCE_BATCH  # targets in a batch
    our_users: int = 256
    # Users in a call of `generate`: of 2, 4, 8 and 16 the fastest on a CPU, with 20 and 50 beams.
    their_users: int = 2
    their_calls: int = 8
    larger_batch: int = 16  # users in a call, as people run it; 0 leaves the row out
    checked_users: int = 16  # whose items and scores are compared
    checked_losses: int = 64  # users whose losses are compared


QUICK = Amount(
    our_batches=2,
    our_budget=512,
    their_rows=48,
    our_users=128,
    their_calls=3,
    larger_batch=0,
    checked_users=4,
    checked_losses=16,
)


@dataclass(frozen=True)
class Settings:
    """How the benchmark is run."""

    quick: bool
    threads: int
    repeats: int
    pythons: Mapping[str, str | None]  # for each peer the interpreter that has it, or None


@dataclass(frozen=True, eq=False)
class Measured:
    """What both sides do, and what has been measured of them so far."""

    settings: Settings
    work: Work
    amount: Amount
    native: str  # the precision that `auto` comes to
    rows: list[Row] = field(default_factory=list)
    checks: Row = field(default_factory=dict)
    ratios: Row = field(default_factory=dict)

    @property
    def vocabulary(self) -> int:
        """Tokens that a position is scored against."""
        return 1 + sum(self.work.ids.codebook_sizes)

    def add_ratio(self, name: str, ours: Sequence[Sample], theirs: Sequence[Sample]) -> None:
        spread = ratio(ours, theirs)
        self.ratios[name], self.ratios[f"{name}_spread"] = spread["value"], spread


def measure(settings: Settings, memory: Callable[[str], dict[str, float]]) -> Row:
    """Check that both sides compute the same, then time them in turn.

    `memory` gives the peak memory of a fresh process of a side.
    """
    torch.set_num_threads(settings.threads)
    quick, native = settings.quick, resolve_precision("auto")
    so_far = Measured(settings, open_work(), QUICK if quick else Amount(), native)
    peaks = {name: peak_flops(DTYPES[name]) for name in dict.fromkeys(["fp32", native])}
    about = machine(settings.threads)
    _training(so_far)
    for beams in (20, 50):
        _decoding(so_far, beams)
    # Measured before and after, because a busy neighbour lowers it and nothing raises it.
    peaks = {name: max(before, peak_flops(DTYPES[name])) for name, before in peaks.items()}
    rows = so_far.rows
    for row in rows:
        limit = peaks[row["precision"]] / 1e9 / row["gflop_needed"]
        row |= {"limit_per_cpu_second": limit, "share_of_limit": row["per_cpu_second"] / limit}
    peak = {side: memory(side) for side in (["ours"] if quick else ["ours", "theirs"])}
    if quick:
        rows += [{"task": name, "skipped": "not run with --quick"} for name in settings.pythons]
    else:
        rows += peer_rows(so_far.work, settings.pythons, settings.repeats)
    return {
        "quick": quick,
        "work": so_far.work.origin,
        "machine": about,
        "checks": so_far.checks,
        **so_far.ratios,
        "peak_gflops_per_core": {name: value / 1e9 for name, value in peaks.items()},
        "peak_mib": peak["ours"]["peak_mib"],
        "memory": peak,
        "rows": rows,
    }


def _training(so_far: Measured) -> None:
    work, amount, native = so_far.work, so_far.amount, so_far.native
    model = build(work.ids)
    gap = loss_difference(work, model, amount.checked_losses)
    so_far.checks["training_loss"] = gap
    if max(abs(gap["causal"]), abs(gap["single"])) > SAME:
        mean = f"{gap['causal']:.2e} nats (limit {SAME})"
        raise DifferentFunctionsError(f"mean losses of equal weights differ by {mean}; see {gap}")
    ours: dict[str, OurTraining] = {}
    theirs: dict[str, ReferenceTraining] = {}
    for name in dict.fromkeys([native, "fp32"]):
        few, size = amount.our_batches, amount.our_budget
        ours[f"ours {name}"] = OurTraining(work, build(work.ids), name, few, size)
        few, size = amount.their_batches, amount.their_rows
        theirs[f"theirs {name}"] = ReferenceTraining(work, model, name, few, size)
    if not so_far.settings.quick:
        half = amount.their_rows // 2
        theirs["similar fp32"] = ReferenceTraining(work, model, "fp32", 2, half, similar=True)
    samples = alternate({**ours, **theirs}, so_far.settings.repeats)
    windows = cut_windows(work.log, SIZE.max_items)
    needed = training_flops(SIZE, so_far.vocabulary, LEVELS, windows) / 1e9
    for contender, turns in samples.items():
        side, precision = contender.split()
        row: Row = {"task": "training", "unit": "targets", "name": TRAINED[side], "side": side}
        row |= {"precision": precision, **summary(turns)}
        if contender in theirs:
            padded_to = theirs[contender].padded_to
            items = sum(padded_to) / len(padded_to) / LEVELS
            as_run = sliding_flops(SIZE, so_far.vocabulary, LEVELS, round(items)) / 1e9
            row |= {"padded_to_tokens": items * LEVELS, "gflop_as_run": as_run}
        so_far.rows.append(row | {"gflop_needed": needed})
    for name, precision in {"train_ratio": "fp32", "train_ratio_same_precision": native}.items():
        so_far.add_ratio(name, samples[f"ours {native}"], samples[f"theirs {precision}"])
        so_far.ratios[f"{name}_precisions"] = [native, precision]


def _decoding(so_far: Measured, beams: int) -> None:
    """Over the trie, as scoter's own experiments decode; not quick, over the vocabulary too."""
    work, amount, quick = so_far.work, so_far.amount, so_far.settings.quick
    chosen: tuple[Softmax, ...] = ("trie",) if quick else ("trie", "vocabulary")
    contenders: dict[tuple[str, Softmax], Contender] = {}
    needed: dict[str, float] = {}
    for softmax in chosen:
        model = build(work.ids)
        model.config = replace(model.config, softmax=softmax)
        ours = OurDecoding(work, model, beams, amount.our_users)
        theirs = ReferenceDecoding(work, model, beams, amount.their_users, amount.their_calls)
        so_far.checks[f"beams_{beams}_{softmax}"] = _same(ours, theirs, amount.checked_users)
        contenders |= {("ours", softmax): ours, ("theirs", softmax): theirs}
        positions = ours.positions(sample(work.histories, amount.our_users, 0))
        lengths = work.histories.lengths
        scored = [so_far.vocabulary] * LEVELS
        if softmax == "trie":
            scored = list(work.ids.codebook_sizes)
        needed[softmax] = decoding_flops(SIZE, scored, lengths, positions) / 1e9
        if (size := amount.larger_batch) and softmax == "trie":
            contenders["larger", softmax] = ReferenceDecoding(work, model, beams, size)
    named = {" ".join(name): run for name, run in contenders.items()}
    samples = alternate(named, so_far.settings.repeats)
    calls = "transformers generate, {} users a call"
    names = {"ours": "scoter", "theirs": calls.format(amount.their_users) + ", its fastest"}
    names["larger"] = calls.format(amount.larger_batch)
    for side, softmax in contenders:
        turns, whole = samples[f"{side} {softmax}"], softmax == "vocabulary"
        task = f"decoding, {beams} beams" + ", whole vocabulary" * whole
        row: Row = {"task": task, "unit": "users", "name": names[side], "side": side}
        row |= {"precision": "fp32", "softmax": softmax, **summary(turns)}
        so_far.rows.append(row | {"gflop_needed": needed[softmax]})
        if side == "ours":
            key = f"decode_ratio_{beams}" + "_vocabulary" * whole
            so_far.add_ratio(key, turns, samples[f"theirs {softmax}"])


def _same(ours: OurDecoding, theirs: ReferenceDecoding, users: int) -> dict[str, float]:
    requests = sample(ours.work.histories, users, 0)
    gap = agreement(ours.decode(requests), theirs.decode(requests))
    if gap["explained"] < 1 or gap["score_difference"] > SAME:
        what = f"{ours.beams} beams of equal weights differ in items or scores"
        raise DifferentFunctionsError(f"{what} ({ours.model.config.softmax}): {gap}")
    return gap


def peak(side: str) -> dict[str, float]:
    """Peak memory in MiB of one side in this process, on the batches that need most."""
    work = open_work()
    model, loaded = build(work.ids), peak_mib()
    most = model.config.max_items
    if side == "ours":
        windows = cut_windows(work.log, most)
        batches = training_batches(work.log, windows, training.CONFIG.batch_targets, 0)
        largest = max(batches, key=lambda batch: batch.items.shape[-1])
        batches = [training.warm_up(work.log, most), largest, largest]
        training.time_steps(model, batches, resolve_precision("auto"))
        trained, decoding = peak_mib(), OurDecoding(work, model, 50, 128)
    else:
        reference = ReferenceTraining(work, model, "fp32", 1)
        reference(0)
        assert max(reference.padded_to) == 4 * most
        trained, decoding = peak_mib(), ReferenceDecoding(work, model, 50, 8)
    decoding(0)
    return {"loaded_mib": loaded, "training_mib": trained, "peak_mib": peak_mib()}
