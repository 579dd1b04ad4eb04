"""The numbers of `docs/scale.md`: measured costs, and what 10^8 items and 10^9 users take.

Every number is an assumption that the page states, a measurement from `FILES`, or their product.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite.collect import RESULTS
from benchmarks.tables import stages_page
from benchmarks.tables.table import Page, Table

FILES = ("growth.json", "speed.json", "chains.json", "scale.json", stages_page.FILE)
ITEMS, USERS, EVENTS_PER_USER = 10**8, 10**9, 20
EVENTS = USERS * EVENTS_PER_USER
TARGETS = EVENTS - USERS
HOUR, DAY = 3600, 86_400
GPU_GFLOPS = 1e5  # sustained by a GPU; an assumption
BATCH, PROCESSES = 65_536, 64  # targets of a batch, and the processes that share it
TOKENS_A_CHAIN, TOKENS_A_SECOND = 500, 2500  # of a language model on one GPU; an assumption
LAYERS, WIDTH, ATTENTION, FEED_FORWARD, TOKENS = 4, 128, 384, 1024, 1 + 3 * 256 + 48

Costs = Mapping[str, float]
Rows = list[tuple[str, float | None, str, str]]  # what, how many, what each costs, their product


def pages(results: Path = RESULTS) -> dict[str, Page]:
    """What was `measured`, and the plan's sections."""
    growth, speed, chains, scale = (json.loads((results / file).read_text()) for file in FILES[:4])
    cost = costs(growth, speed, chains, scale)
    plan = {"storage": storage, "preparing": preparing, "reasoning": reasoning}
    plan |= {"training": training, "serving": serving}
    grown = stages_page.page(stages_page.read(results))
    planned = {name: _page(rows(cost)) for name, rows in plan.items()}
    return {"measured": measured(scale), **planned, "stages": grown}


def costs(growth: Any, speed: Any, chains: Any, scale: Any) -> dict[str, float]:
    """What one unit costs: bytes, or CPU-seconds of one core."""
    large = scale[max(scale, key=float)]
    catalogues = [row for row in growth["rows"] if row["curve"] == "catalogue"]
    catalogue = max(catalogues, key=lambda row: row["items"])
    wanted = {"task": "training", "side": "ours", "precision": "bf16"}
    [training] = [row for row in speed["rows"] if wanted.items() <= row.items()]
    prepared, reviews = large["prepare"], large["write"]["interactions"]
    return {
        "raw_bytes": large["write"]["packed_bytes"] / reviews,
        "prepared_bytes": prepared["stored_bytes"] / prepared["interactions"],
        "prepare_seconds": prepared["cpu_seconds"] / reviews,
        "prepare_memory": prepared["peak_mib"] * 2**20 / reviews,
        "encode_seconds": 1 / large["encode"]["sentences_per_cpu_second"],
        "ids_seconds": large["ids"]["cpu_seconds"] / large["ids"]["items"],
        "trie_bytes": catalogue["trie_bytes_per_item"],
        "trie_tensor_bytes": catalogue["trie_tensor_bytes_per_item"],
        "decode_seconds": catalogue["cpu_seconds_per_user"],
        "train_seconds": 1 / training["per_cpu_second"],
        "train_gflop": training["gflop_needed"],
        "chain_seconds": 1 / max(row["chains"] / row["cpu_seconds"] for row in chains["rows"]),
        "chain_bytes": chains["rows"][-1]["bytes_per_chain"],
    }


def parameters() -> int:
    """Parameters of the paper's TIGER, with one embedding of all codes."""
    attention, feed_forward = 4 * WIDTH * ATTENTION, 2 * WIDTH * FEED_FORWARD
    return LAYERS * (3 * attention + 2 * feed_forward) + WIDTH * TOKENS


def measured(scale: Mapping[str, Any]) -> Page:
    """One column for each size that was run."""
    runs = {f"{float(share):.0%}": scale[share] for share in sorted(scale, key=float)}
    rows = []
    for step, key, what, form in _SHOWN:
        rows.append([what, *(form.format(run[step][key]) for run in runs.values())])
    held = {size: "yes" if run["prepare_within_limit"] else "NO" for size, run in runs.items()}
    within = " and ".join(f"{size}: {answer}" for size, answer in held.items())
    made_at = [run["prepare"]["commit"].replace("+dirty", " with changes") for run in runs.values()]
    return Page(
        [
            Table(["", *(f"{size} of the full size" for size in runs)], rows),
            f"Prepared within 4 GiB: {within}. One thread each, on a busy machine, so read the "
            f"CPU-seconds.\nCode of {', '.join(dict.fromkeys(made_at))}.",
        ]
    )


def storage(cost: Costs) -> Rows:
    raw, prepared, chain = (cost[f"{name}_bytes"] for name in ("raw", "prepared", "chain"))
    return [
        ("raw reviews, packed", EVENTS, f"{raw:.0f} bytes", _bytes(EVENTS * raw)),
        ("prepared, as parquet", EVENTS, f"{prepared:.1f} bytes", _bytes(EVENTS * prepared)),
        ("item vectors, 384 half-precision numbers", ITEMS, "768 bytes", _bytes(ITEMS * 768)),
        ("semantic IDs, four codes of two bytes", ITEMS, "8 bytes", _bytes(ITEMS * 8)),
        ("newest chain of each user", USERS, f"{chain:.0f} bytes", _bytes(USERS * chain)),
        ("chains of all prefixes", EVENTS, f"{chain:.0f} bytes", _bytes(EVENTS * chain)),
    ]


def preparing(cost: Costs) -> Rows:
    prepare, encode, ids = (cost[f"{name}_seconds"] for name in ("prepare", "encode", "ids"))
    memory, vector = cost["prepare_memory"], f"{encode * 1e3:.2f} ms"
    spread = f"{ITEMS * encode / 1000 / HOUR:.1f} hours"
    return [
        ("parsing and preparing", EVENTS, f"{prepare * 1e6:.1f} us", _hours(EVENTS * prepare)),
        ("memory of that in one process", EVENTS, f"{memory:.0f} bytes", _bytes(EVENTS * memory)),
        ("sentence vectors of the items", ITEMS, vector, _hours(ITEMS * encode)),
        ("the same on 1,000 cores", ITEMS, vector, spread),
        ("residual k-means, 256 codes a level", ITEMS, f"{ids * 1e6:.0f} us", _hours(ITEMS * ids)),
    ]


def reasoning(cost: Costs) -> Rows:
    seconds = cost["chain_seconds"]
    each, tokens = f"{seconds * 1e6:.0f} us", f"{TOKENS_A_CHAIN} tokens"
    model = f"{USERS * TOKENS_A_CHAIN / TOKENS_A_SECOND / HOUR:,.0f} GPU-hours"
    return [
        ("catalogue reasoner, newest chains", USERS, each, _hours(USERS * seconds)),
        ("catalogue reasoner, all prefixes", EVENTS, each, _hours(EVENTS * seconds)),
        ("language model, newest chains", USERS, tokens, model),
    ]


def training(cost: Costs) -> Rows:
    seconds, gflop = cost["train_seconds"], cost["train_gflop"]
    work, gradient, share = f"{gflop:.3f} GFLOP", parameters() * 4, BATCH / PROCESSES
    batch_seconds = share * gflop / GPU_GFLOPS
    table, weights = f"{ITEMS * WIDTH / 1e9:.1f} billion", f"{parameters() / 1e6:.1f} million"
    cpu = f"{seconds * 1e3:.2f} ms"
    network = f"{2 * gradient / batch_seconds / 1e9:.0f} GB/s"
    gpu_hours = f"{TARGETS * gflop / GPU_GFLOPS / HOUR:.0f} GPU-hours"
    return [
        ("one pass over all targets, bf16", TARGETS, cpu, _hours(TARGETS * seconds)),
        ("the same in arithmetic", TARGETS, work, f"{TARGETS * gflop * 1e9:.1e} FLOP"),
        ("the same on GPUs", TARGETS, work, gpu_hours),
        ("parameters of the paper's TIGER", None, "", weights),
        ("parameters of an item table as wide", ITEMS, f"{WIDTH}", table),
        ("gradient of a step", parameters(), "4 bytes", _bytes(gradient)),
        ("sent by a process in a step", None, "", _bytes(2 * gradient)),
        ("GPU time of a process in a step", share, work, f"{batch_seconds * 1e3:.1f} ms"),
        ("network that keeps up with it", None, "", network),
    ]


def serving(cost: Costs) -> Rows:
    trie, tensors, request = cost["trie_bytes"], cost["trie_tensor_bytes"], cost["decode_seconds"]
    per_day, larger = USERS / DAY, request * 8 / 6
    return [
        ("trie, stored", ITEMS, f"{trie:.0f} bytes", _bytes(ITEMS * trie)),
        ("trie, tensors of a process", ITEMS, f"{tensors:.0f} bytes", _bytes(ITEMS * tensors)),
        ("request over 10^6 items, 20 beams", None, "", f"{request * 1e3:.1f} ms"),
        ("request over 10^8 items, at most", None, "", f"{larger * 1e3:.1f} ms"),
        ("one request a user and day", USERS, "", f"{per_day:,.0f} a second"),
        ("cores for that, even load", None, "", f"{per_day * larger:,.0f}"),
        ("cores for that, a peak of three times", None, "", f"{3 * per_day * larger:,.0f}"),
    ]


def _page(rows: Rows) -> Page:
    cells = [[what, _count(count), each, product] for what, count, each, product in rows]
    return Page([Table(("", "how many", "each", "in all"), cells)])


def _count(count: float | None) -> str:
    if count is None:
        return ""
    return f"{count:,.0f}" if count < 1e7 else f"{count:.1e}".replace(".0e", "e")


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB" if count < 1000 else f"{count:,.0f} TB"


def _hours(seconds: float) -> str:
    return f"{seconds / HOUR:,.0f} core-hours"


_SHOWN = (
    ("write", "interactions", "reviews", "{:,}"),
    ("write", "users", "users", "{:,}"),
    ("write", "items", "items", "{:,}"),
    ("write", "plain_bytes", "bytes, unpacked", "{:,}"),
    ("prepare", "interactions", "left by the five-core: reviews", "{:,}"),
    ("prepare", "users", "users", "{:,}"),
    ("prepare", "items", "items", "{:,}"),
    ("prepare", "cpu_seconds", "preparing: CPU-seconds", "{:.0f}"),
    ("prepare", "peak_mib", "peak memory, MiB", "{:,.0f}"),
    ("open", "cpu_seconds", "opening and splitting: CPU-seconds", "{:.1f}"),
    ("open", "peak_mib", "peak memory, MiB", "{:,.0f}"),
    ("items", "cpu_seconds", "co-occurrence vectors: CPU-seconds", "{:.0f}"),
    ("items", "peak_mib", "peak memory, MiB", "{:,.0f}"),
    ("ids", "cpu_seconds", "semantic IDs: CPU-seconds", "{:.0f}"),
    ("ids", "peak_mib", "peak memory, MiB", "{:,.0f}"),
    ("ids", "collision_rate", "items that share their three codes", "{:.1%}"),
    ("ids", "largest_group", "the most that share them", "{:,}"),
    ("decode", "trie_bytes_per_item", "trie: bytes an item", "{:.1f}"),
    ("decode", "cpu_seconds_per_user", "decoding, 20 beams: CPU-seconds a user", "{:.4f}"),
    ("encode", "sentences_per_cpu_second", "sentence encoder: titles a CPU-second", "{:.0f}"),
)
