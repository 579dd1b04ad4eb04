"""The result as a table for people."""

from typing import Any

GOALS = {
    "train_ratio": (25, 40),
    "train_ratio_same_precision": (15, 20),
    "decode_ratio_20": (8, 10),
    "decode_ratio_50": (12, 15),
    "decode_ratio_20_vocabulary": (8, 10),
    "decode_ratio_50_vocabulary": (12, 15),
}

_HEAD = """\
{work}; {cpu}, {threads} of {cores} cores, load {load_average:.1f}; matrix product {peaks}; torch \
{torch}, transformers {transformers}; commit {commit:.10}{changes}
"""
_CHECKS = """\
Same function: with equal weights and the item-causal mask the mean loss over {targets:.0f} \
targets differs by {causal:.0e} nats;
without the mask by {single:.0e} where one item is read, and by {full:.0e} over all, because
the timed T5 is run as people run it, with full attention in its encoder: same shapes, another \
function.
Users whose items come back the same and in the same order: {beams} (all but for ties within 1e-4).
Decoding normalises over the codes that can follow (generate with renormalize_logits), unless a \
row says otherwise;
a beam with one item below it is decided then and asks the decoder no more.
The limit counts the products that remain when all targets of a user share one pass and nothing is \
recomputed."""


def table(result: dict[str, Any]) -> str:
    """Rows with medians and spreads, ratios beside their goals, and what was checked."""
    about, gflops = result["machine"], result["peak_gflops_per_core"]
    shown = {**about, **about["versions"], "work": result["work"]}
    shown["peaks"] = ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in gflops.items())
    shown["changes"] = " (with changes)" if about["dirty"] else ""
    heads = f"{'task':40}{'who':62}{'prec.':7}{'per CPU-s (least..most)':28}"
    lines = [_HEAD.format(**shown), f"{heads}{'per s':>9}{'limit':>9}{'of it':>7}"]
    lines += [*map(_line, result["rows"]), ""]
    for name, (least, aim) in GOALS.items():
        if name in result:
            spread = "[{min:.1f}, {max:.1f}]".format(**result[f"{name}_spread"])
            a, b = result.get(f"{name}_precisions", ["fp32", "fp32"])
            goal = f"{a} against {b}; at least {least}, aim {aim}"
            lines.append(f"{name:28}{result[name]:6.1f}  {spread}  {goal}")
    about_ours = "MiB (training and 50 beams, a process of its own)"
    lines.append(f"{'peak memory, ours':28}{result['peak_mib']:6.0f} {about_ours}")
    if "theirs" in result["memory"]:
        lines.append(f"{'peak memory, theirs':28}{result['memory']['theirs']['peak_mib']:6.0f} MiB")
    checks = dict(result["checks"])
    loss = {name: abs(value) for name, value in checks.pop("training_loss").items()}
    same = {name[6:].replace("_", ", "): gap["same_items"] for name, gap in checks.items()}
    beams = ", ".join(f"{name}: {share:.0%}" for name, share in same.items())
    return "\n".join([*lines, "", _CHECKS.format(**loss, beams=beams)])


def _line(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return "{task:40}left out: {skipped}".format(**row)
    spread = "{per_cpu_second:.1f} ({per_cpu_second_min:.1f}..{per_cpu_second_max:.1f})"
    line = "{task:40}{name:62}{precision:7}".format(**row) + f"{spread.format(**row):28}"
    limit = "{limit_per_cpu_second:9.0f}{share_of_limit:7.0%}" if "share_of_limit" in row else ""
    return line + f"{row['per_wall_second']:9.1f}" + limit.format(**row)
