"""All rows of the benchmark, as one JSON-ready object."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from benchmarks.speed.decoding import OurDecoding, ReferenceDecoding, agreement, sample
from benchmarks.speed.limits import decoding_flops, peak_flops, sliding_flops, training_flops
from benchmarks.speed.peers import peer_rows
from benchmarks.speed.timing import Sample, alternate, machine, ratio, summary
from benchmarks.speed.training import (
    CONFIG,
    REFERENCE_BATCH,
    OurTraining,
    ReferenceTraining,
    build,
    loss_difference,
)
from benchmarks.speed.work import SIZE, Work, open_work
from scoter.errors import ScoterError
from scoter.models.training.batches import cut_windows
from scoter.models.training.precision import resolve_precision

Softmax = Literal["trie", "vocabulary"]
LEVELS = 4
SAME = 1e-4
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class DifferentFunctionsError(ScoterError):
    """Both sides are given the same weights and the same work and do not compute the same; their
    speeds say nothing."""


@dataclass(frozen=True)
class Amount:
    """How much each side does in one repeat.

    `their_users` is a batch of `generate`, here where it is fastest on a CPU: of 2, 4, 8 and 16
    users a call 2 did most in a CPU-second with 20 beams and with 50. A second row has the larger
    batches that people use.
    """

    our_batches: int = 4
    our_budget: int = CONFIG.batch_targets
    their_batches: int = 1
    their_rows: int = REFERENCE_BATCH
    our_users: int = 256
    their_users: int = 2
    their_calls: int = 8
    larger_batch: int = 16
    checked_users: int = 16


QUICK = Amount(
    our_batches=2,
    our_budget=512,
    their_rows=48,
    our_users=128,
    their_calls=3,
    larger_batch=0,
    checked_users=4,
)


def measure(
    quick: bool,
    threads: int,
    repeats: int,
    pythons: dict[str, str | None],
    memory: Callable[[str], dict[str, float]],
) -> dict[str, Any]:
    """Check that both sides compute the same, then time them in turn.

    Args:
        pythons: for each peer, the interpreter that has it, or None.
        memory: side -> peak memory of a fresh process.

    Raises:
        DifferentFunctionsError: losses or items differ for equal weights.
    """
    torch.set_num_threads(threads)
    work, amount = open_work(), QUICK if quick else Amount()
    native = resolve_precision("auto")
    peaks = {p: peak_flops(DTYPES[p]) for p in dict.fromkeys(["fp32", native])}
    result: dict[str, Any] = {
        "quick": quick,
        "work": work.origin,
        "machine": machine(threads),
        "checks": {},
    }
    rows: list[dict[str, Any]] = []
    result |= _training(work, amount, native, repeats, quick, result["checks"], rows)
    for beams in (20, 50):
        result |= _decoding(work, amount, beams, repeats, quick, result["checks"], rows)
    # Measured before and after, because a busy neighbour lowers it and nothing raises it.
    peaks = {p: max(before, peak_flops(DTYPES[p])) for p, before in peaks.items()}
    rows = [row | _limit(row, peaks[row["precision"]]) for row in rows]
    result["peak_gflops_per_core"] = {name: value / 1e9 for name, value in peaks.items()}
    result["peak_mib"] = (ours := memory("ours"))["peak_mib"]
    result["memory"] = {"ours": ours} | ({} if quick else {"theirs": memory("theirs")})
    rows += (
        [{"task": name, "skipped": "not run with --quick"} for name in pythons]
        if quick
        else peer_rows(work, pythons, repeats)
    )
    return {**result, "rows": rows}


def _training(
    work: Work,
    amount: Amount,
    native: str,
    repeats: int,
    quick: bool,
    checks: dict[str, Any],
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    model = build(work.ids)
    checks["training_loss"] = gap = loss_difference(work, model, 16 if quick else 64)
    if max(abs(gap["causal"]), abs(gap["single"])) > SAME:
        raise DifferentFunctionsError(
            f"mean losses of equal weights differ by {gap['causal']:.2e} nats (limit {SAME}); "
            f"see {gap}"
        )
    precisions = dict.fromkeys([native, "fp32"])
    ours = {
        p: OurTraining(work, build(work.ids), p, amount.our_batches, amount.our_budget)
        for p in precisions
    }
    theirs = {
        p: ReferenceTraining(work, model, p, amount.their_batches, amount.their_rows)
        for p in precisions
    }
    contenders: dict[str, Callable[[int], Sample]] = {f"ours {p}": run for p, run in ours.items()}
    contenders |= {f"theirs {p}": run for p, run in theirs.items()}
    if not quick:
        contenders["similar fp32"] = ReferenceTraining(
            work, model, "fp32", 2, amount.their_rows // 2, similar=True
        )
    samples = alternate(contenders, repeats)
    vocabulary = 1 + sum(work.ids.codebook_sizes)
    needed = training_flops(SIZE, vocabulary, LEVELS, cut_windows(work.log, SIZE.max_items))
    names = {
        "ours": "scoter, all targets of a user in one pass",
        "theirs": "transformers T5, sliding windows",
        "similar": "transformers T5, sliding windows, batches of similar length",
    }
    for name, turns in samples.items():
        side, precision = name.split()
        row = {
            "task": "training",
            "unit": "targets",
            "name": names[side],
            "side": side,
            "precision": precision,
            **summary(turns),
        }
        run = contenders[name]
        if isinstance(run, ReferenceTraining):
            items = sum(run.padded_to) / len(run.padded_to) / LEVELS
            row |= {
                "padded_to_tokens": items * LEVELS,
                "gflop_as_run": sliding_flops(SIZE, vocabulary, LEVELS, round(items)) / 1e9,
            }
        rows.append(row | {"gflop_needed": needed / 1e9})
    main, same = (
        ratio(samples[f"ours {native}"], samples["theirs fp32"]),
        ratio(samples[f"ours {native}"], samples[f"theirs {native}"]),
    )
    return {
        "train_ratio": main["value"],
        "train_ratio_spread": main,
        "train_ratio_precisions": [native, "fp32"],
        "train_ratio_same_precision": same["value"],
        "train_ratio_same_precision_spread": same,
        "train_ratio_same_precision_precisions": [native, native],
    }


def _decoding(
    work: Work,
    amount: Amount,
    beams: int,
    repeats: int,
    quick: bool,
    checks: dict[str, Any],
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    """Over the trie, as scoter's own experiments decode; over the vocabulary too where there is
    time."""
    requests = sample(work.histories, amount.checked_users, 0)
    contenders: dict[tuple[str, Softmax], Callable[[int], Sample]] = {}
    needed: dict[str, float] = {}
    chosen: tuple[Softmax, ...] = ("trie",) if quick else ("trie", "vocabulary")
    for softmax in chosen:
        model = build(work.ids)
        model.config = replace(model.config, softmax=softmax)
        ours = OurDecoding(work, model, beams, amount.our_users)
        theirs = ReferenceDecoding(work, model, beams, amount.their_users, amount.their_calls)
        checks[f"beams_{beams}_{softmax}"] = gap = agreement(
            ours.decode(requests), theirs.decode(requests)
        )
        if gap["explained"] < 1 or gap["score_difference"] > SAME:
            raise DifferentFunctionsError(
                f"{beams} beams of equal weights differ in items or scores ({softmax}): {gap}"
            )
        contenders |= {("ours", softmax): ours, ("theirs", softmax): theirs}
        positions = ours.positions(sample(work.histories, amount.our_users, 0))
        needed[softmax] = decoding_flops(
            SIZE, 1 + sum(work.ids.codebook_sizes), work.histories.lengths, positions
        )
        if amount.larger_batch and softmax == "trie":
            contenders["larger", softmax] = ReferenceDecoding(
                work, model, beams, amount.larger_batch
            )
    turns_of = alternate({" ".join(name): run for name, run in contenders.items()}, repeats)
    names = {
        "ours": "scoter",
        "theirs": f"transformers generate, {amount.their_users} users a call, its fastest",
    }
    names["larger"] = f"transformers generate, {amount.larger_batch} users a call"
    found: dict[str, Any] = {}
    for side, softmax in contenders:
        turns = turns_of[f"{side} {softmax}"]
        task = f"decoding, {beams} beams" + ("" if softmax == "trie" else ", whole vocabulary")
        row = {
            "task": task,
            "unit": "users",
            "name": names[side],
            "side": side,
            "precision": "fp32",
            "softmax": softmax,
        }
        rows.append(row | summary(turns) | {"gflop_needed": needed[softmax] / 1e9})
        if side == "ours":
            key = f"decode_ratio_{beams}" + ("" if softmax == "trie" else "_vocabulary")
            spread = ratio(turns, turns_of[f"theirs {softmax}"])
            found |= {key: spread["value"], f"{key}_spread": spread}
    return found


def _limit(row: dict[str, Any], peak: float) -> dict[str, float]:
    limit = peak / 1e9 / row["gflop_needed"]
    return {"limit_per_cpu_second": limit, "share_of_limit": row["per_cpu_second"] / limit}
