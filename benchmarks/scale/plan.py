"""The plan for 10^8 items and 10^9 users, from measured costs alone; `docs/scale.md` shows it.

Every number is an assumption that is stated there, a measurement read from `FILES` of the results,
or their product.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.suite.collect import RESULTS

FILES = ("growth.json", "speed.json", "chains.json", "scale.json")
ITEMS, USERS, EVENTS_PER_USER = 10**8, 10**9, 20
EVENTS = USERS * EVENTS_PER_USER
HOUR, DAY = 3600, 86_400
LAYERS, WIDTH, ATTENTION, FEED_FORWARD, TOKENS = 4, 128, 384, 1024, 1 + 3 * 256 + 48


def tables_of(results: Path = RESULTS) -> dict[str, str]:
    """What was `measured`, and what is `planned` from it."""
    growth, speed, chains, scale = (json.loads((results / file).read_text()) for file in FILES)
    return {"measured": measured(scale), "planned": planned(costs(growth, speed, chains, scale))}


def costs(growth: Any, speed: Any, chains: Any, scale: Any) -> dict[str, float]:
    """What one unit costs: bytes, or CPU-seconds of one core."""
    large = scale[max(scale, key=float)]
    catalogue = max(
        (row for row in growth["rows"] if row["curve"] == "catalogue"), key=lambda row: row["items"]
    )
    training = next(
        row
        for row in speed["rows"]
        if (row["task"], row["side"], row["precision"]) == ("training", "ours", "bf16")
    )
    prepared = large["prepare"]
    return {
        "raw_bytes": large["write"]["packed_bytes"] / large["write"]["interactions"],
        "prepared_bytes": prepared["stored_bytes"] / prepared["interactions"],
        "prepare_seconds": prepared["cpu_seconds"] / large["write"]["interactions"],
        "prepare_memory": prepared["peak_mib"] * 2**20 / large["write"]["interactions"],
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
    """Of the paper's TIGER: four projections an attention, two maps a feed-forward, one embedding
    of all codes.

    Example:
        >>> parameters() // 1000
        4561
    """
    attention, feed_forward = 4 * WIDTH * ATTENTION, 2 * WIDTH * FEED_FORWARD
    return LAYERS * (3 * attention + 2 * feed_forward) + WIDTH * TOKENS


def measured(scale: Any) -> str:
    """One column for each size that was run."""
    shares = sorted(scale, key=float)
    rows = [("", [f"{float(share):.0%} of the full size" for share in shares])]
    for step, key, what, form in _SHOWN:
        rows.append((what, [form.format(scale[share][step][key]) for share in shares]))
    lines = ["| " + " | ".join([what, *cells]) + " |" for what, cells in rows]
    lines.insert(1, "|---|" + "---:|" * len(shares))
    within = {share: scale[share]["prepare_within_limit"] for share in shares}
    said = " and ".join(
        f"{float(share):.0%}: {'yes' if held else 'NO'}" for share, held in within.items()
    )
    commits = ", ".join(
        dict.fromkeys(
            scale[share]["prepare"]["commit"].replace("+dirty", " with changes") for share in shares
        )
    )
    note = (
        f"\nPrepared within 4 GiB: {said}. One thread each, on a busy machine, so read the "
        f"CPU-seconds."
    )
    return "\n".join([*lines, note, f"Code of {commits}.", ""])


def planned(cost: dict[str, float]) -> str:
    """The arithmetic, one line a product."""
    per_day = USERS / DAY
    lines = [
        "## Storage",
        "",
        f"- Raw reviews, packed: {EVENTS:.0e} x {cost['raw_bytes']:.0f} bytes = "
        f"{_bytes(EVENTS * cost['raw_bytes'])}.",
        f"- Prepared interactions and items: {EVENTS:.0e} x {cost['prepared_bytes']:.1f} bytes = "
        f"{_bytes(EVENTS * cost['prepared_bytes'])} of parquet.",
        f"- Item vectors of 384 numbers in half precision: {ITEMS:.0e} x 768 bytes = "
        f"{_bytes(ITEMS * 768)}; needed until the semantic IDs are made.",
        f"- Semantic IDs, four codes of two bytes: {_bytes(ITEMS * 8)}. Three levels of 256 name "
        f"{256**3:,} items apart and no more, so {ITEMS:.0e} need three levels of 1,024 "
        f"({1024**3:.1e}) or four of 256 ({256**4:.1e}).",
        f"- Each user's newest chain: {USERS:.0e} x {cost['chain_bytes']:.0f} bytes = "
        f"{_bytes(USERS * cost['chain_bytes'])}; the "
        f"chains of all prefixes, which training reads: {_bytes(EVENTS * cost['chain_bytes'])}.",
        "",
        "## Preparing, item vectors and semantic IDs",
        "",
        f"- Parsing and preparing: {EVENTS:.0e} x {cost['prepare_seconds'] * 1e6:.1f} us = "
        f"{_hours(EVENTS * cost['prepare_seconds'])}. In one process it would hold "
        f"{cost['prepare_memory']:.0f} bytes an interaction, "
        f"{_bytes(EVENTS * cost['prepare_memory'])}: beyond about 10^8 interactions, the "
        "five-core and the grouping belong in an engine that spills to disk.",
        f"- Sentence vectors of the items: {ITEMS:.0e} x {cost['encode_seconds'] * 1e3:.2f} ms = "
        f"{_hours(ITEMS * cost['encode_seconds'])}; independent, so 1,000 cores take "
        f"{ITEMS * cost['encode_seconds'] / 1000 / HOUR:.1f} hours.",
        f"- Residual k-means, all rounds over all items: {ITEMS:.0e} x "
        f"{cost['ids_seconds'] * 1e6:.0f} us = {_hours(ITEMS * cost['ids_seconds'])} with 256 "
        "codes a level, in proportion more with larger codebooks. Of at most 50 rounds a level, "
        "all but the assignment can be done on a sample.",
        "",
        "## Reasoning",
        "",
        f"- The catalogue reasoner: newest chains {USERS:.0e} x {cost['chain_seconds'] * 1e6:.0f} "
        f"us = {_hours(USERS * cost['chain_seconds'])}; all prefixes "
        f"{_hours(EVENTS * cost['chain_seconds'])}.",
        "- A language model of 500 tokens a chain and 2,500 tokens a second and GPU (an "
        f"assumption; none was measured): newest chains {USERS * 500 / 2500 / HOUR:,.0f} "
        "GPU-hours. So chains are written for a sample, or for users who come back.",
        "",
        "## Training",
        "",
        f"- The model does not grow with the catalogue: {parameters() / 1e6:.1f} million "
        f"parameters at the paper's size, {_bytes(parameters() * 4)} of gradient a step. An item "
        f"table of the same width would have {ITEMS * WIDTH / 1e9:.1f} billion.",
        f"- One pass over all targets: {EVENTS - USERS:.1e} x {cost['train_seconds'] * 1e3:.2f} "
        f"ms = {_hours((EVENTS - USERS) * cost['train_seconds'])} in bf16; in arithmetic "
        f"{cost['train_gflop']:.3f} GFLOP a target, "
        f"{(EVENTS - USERS) * cost['train_gflop'] * 1e9:.1e} FLOP. At 100 TFLOP/s sustained by a "
        f"GPU (an assumption) that is {(EVENTS - USERS) * cost['train_gflop'] / 1e5 / HOUR:.0f} "
        "GPU-hours.",
        f"- Sharing a batch of 65,536 targets among 64 processes sends "
        f"{_bytes(2 * parameters() * 4)} a process and step, for "
        f"{65_536 / 64 * cost['train_gflop'] / 1e5 * 1e3:.1f} ms of GPU arithmetic: the network "
        f"has to carry "
        f"{2 * parameters() * 4 / (65_536 / 64 * cost['train_gflop'] / 1e5) / 1e9:.0f} GB/s, or "
        f"batches grow.",
        "",
        "## Serving",
        "",
        f"- The trie: {ITEMS:.0e} x {cost['trie_bytes']:.0f} bytes = "
        f"{_bytes(ITEMS * cost['trie_bytes'])} stored, "
        f"{_bytes(ITEMS * cost['trie_tensor_bytes'])} as the tensors of one process. It is "
        f"read-only, so the processes of a "
        "machine can share it; by first code it splits over machines.",
        f"- A request over 10^6 items takes {cost['decode_seconds'] * 1e3:.1f} ms of one core "
        "with 20 beams. From 10^4 to 10^6 items it grew no faster than the logarithm; by the "
        f"logarithm 10^8 items take at most {cost['decode_seconds'] * 8 / 6 * 1e3:.1f} ms.",
        f"- One request a user and day is {per_day:,.0f} a second: "
        f"{per_day * cost['decode_seconds'] * 8 / 6:,.0f} cores at an even load, "
        f"{3 * per_day * cost['decode_seconds'] * 8 / 6:,.0f} at a peak three times as high.",
        "",
    ]
    return "\n".join(lines)


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}" if count < 1000 else f"{count:,.0f} {unit}"
        count /= 1000
    raise AssertionError


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
