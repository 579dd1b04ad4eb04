"""The result as a table for people."""

from typing import Any

GOALS = {
    "train_ratio": (25, 40),
    "train_ratio_same_precision": (12, 20),
    "decode_ratio_20": (6, 10),
    "decode_ratio_50": (8, 15),
    "decode_ratio_20_vocabulary": (6, 10),
    "decode_ratio_50_vocabulary": (8, 15),
}


def table(result: dict[str, Any]) -> str:
    """Rows with medians and spreads, ratios beside their goals, and what was checked."""
    about = result["machine"]
    peaks = ", ".join(
        f"{name} {value:.0f} GFLOP/s" for name, value in result["peak_gflops_per_core"].items()
    )
    lines = [
        f"{result['work']}; {about['cpu']}, {about['threads']} of {about['cores']} cores, load "
        f"{about['load_average']:.1f}; matrix product {peaks}; torch "
        f"{about['versions']['torch']}, transformers {about['versions']['transformers']}; commit "
        f"{about['commit'][:10]}{' (with changes)' if about['dirty'] else ''}",
        "",
        f"{'task':40}{'who':62}{'prec.':7}{'per CPU-s (least..most)':28}"
        f"{'per s':>9}{'limit':>9}{'of it':>7}",
    ]
    lines += [_line(row) for row in result["rows"]]
    lines.append("")
    for name, (least, aim) in GOALS.items():
        if name not in result:
            continue
        spread = result[f"{name}_spread"]
        precisions = result.get(f"{name}_precisions", ["fp32", "fp32"])
        lines.append(
            f"{name:28}{result[name]:6.1f}  [{spread['min']:.1f}, {spread['max']:.1f}]  "
            f"{precisions[0]} against {precisions[1]}; at least {least}, aim {aim}"
        )
    lines.append(
        f"{'peak memory, ours':28}{result['peak_mib']:6.0f} MiB (training and 50 beams, a "
        f"process of its own)"
    )
    if "theirs" in result["memory"]:
        lines.append(f"{'peak memory, theirs':28}{result['memory']['theirs']['peak_mib']:6.0f} MiB")
    return "\n".join([*lines, "", *_checks(result)])


def _line(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"{row['task']:40}left out: {row['skipped']}"
    spread = (
        f"{row['per_cpu_second']:.1f} "
        f"({row['per_cpu_second_min']:.1f}..{row['per_cpu_second_max']:.1f})"
    )
    limit = (
        f"{row['limit_per_cpu_second']:9.0f}{row['share_of_limit']:7.0%}"
        if "limit_per_cpu_second" in row
        else ""
    )
    who = f"{row['task']:40}{row['name']:62}{row['precision']:7}"
    return f"{who}{spread:28}{row['per_wall_second']:9.1f}{limit}"


def _checks(result: dict[str, Any]) -> list[str]:
    loss = result["checks"]["training_loss"]
    beams = [
        f"{key[6:].replace('_', ', ')}: {gap['same_items']:.0%}"
        for key, gap in result["checks"].items()
        if key.startswith("beams_")
    ]
    return [
        "Same function: with equal weights and the item-causal mask the mean loss over "
        f"{loss['targets']:.0f} targets differs by {abs(loss['causal']):.0e} nats;",
        f"without the mask by {abs(loss['single']):.0e} where one item is read, and by "
        f"{abs(loss['full']):.0e} over all, because",
        "the timed T5 is run as people run it, with full attention in its encoder: same shapes, "
        "another function.",
        "Users whose items come back the same and in the same order: "
        + ", ".join(beams)
        + " (all but for ties within 1e-4).",
        "Decoding normalises over the codes that can follow (generate with renormalize_logits), "
        "unless a row says otherwise;",
        "a beam with one item below it is decided then and asks the decoder no more.",
        "The limit counts the products that remain when all targets of a user share one pass and "
        "nothing is recomputed.",
    ]
