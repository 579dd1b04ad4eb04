"""The report read back with an HTML parser: whole, safe, self-contained, and with every number of the run."""

import itertools
import json
import re

import numpy as np
import pytest
from fake_run import HOSTILE, KEY, ROLES, write_fake_explorer, write_fake_run
from page_reader import Page, allowed_scripts

from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import bootstrap_mean
from scoter.report import write_report
from scoter.report.page import PAGES


@pytest.fixture
def make_fake_run(tmp_path):
    return lambda **changes: write_fake_run(tmp_path / "run", **changes)


def report(folder, explored=None) -> tuple[str, Page]:
    out = folder / "pages" / "report.html"
    write_report(folder, out, explored)
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    return text, page


def test_every_number_of_the_run_stands_in_the_page(make_fake_run):
    folder = make_fake_run()
    run = json.loads((folder / "run.json").read_text())
    _, page = report(folder)
    for name, made in run["methods"].items():
        kept = load_user_metrics(folder / "ranks" / f"{name}-test.parquet")
        for metric in ("recall@5", "ndcg@5", "recall@10", "ndcg@10"):
            found = bootstrap_mean(per_user(kept, metric), seed=0)
            assert f"{made['metrics']['test'][metric]:.4f} [{found.low:.4f}, {found.high:.4f}]" in page.text
        costs = [made[key] for key in ("cpu_seconds", "peak_mib", "parameters") if key in made]
        for number in (f"{cost:,.0f}" for cost in costs):
            assert number in page.texts
    for one in run["differences"]:
        assert f"{one['better']} \N{MINUS SIGN} {one['worse']}" in page.texts
        assert f"{one['mean']:+.4f}" in page.texts
        assert f"[{one['low']:+.4f}, {one['high']:+.4f}]" in page.texts
    for name in ("scoter", "tiger-meanpool"):
        found = json.loads((folder / "attention" / f"{name}.json").read_text())
        for value in found["attention_mean"] + found["gate_mean"]:
            assert f"{value:.4f}" in page.texts
    for text in (
        "beauty",
        "A fixed sample of 2,000 Beauty users.",
        KEY,
        run["commit"],
        "12,101",
        "2,000",
        "0.0123",
        "412",
        "0.0710",
    ):
        assert text in page.text
    assert "recent_item(lag=1)" in page.texts
    assert "symbolic stand-in for a language model" in page.text


def test_hostile_texts_stay_texts(make_fake_run):
    folder = make_fake_run(titles=HOSTILE, note=HOSTILE[0])
    raw, page = report(folder, write_fake_explorer(folder))
    assert raw.count("<script") == raw.count("</script") == 1
    assert page.scripts == allowed_scripts(raw)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "49" not in [text.strip() for text in page.texts]
    for title in HOSTILE:
        assert sum(title in text for text in page.texts) >= 8, title


def test_a_title_written_from_right_to_left_turns_nothing_else(make_fake_run):
    turned = "\u202egnul-elbat"
    _, page = report(make_fake_run(titles=[turned]))
    shown = [inside for inside, text in page.inside if turned in text]
    assert shown
    assert all("bdi" in inside or "style" in inside for inside in shown)


def test_hostile_names_stay_texts_in_attributes_too(make_fake_run):
    folder = make_fake_run()
    path = folder / "attention" / "scoter.json"
    found = json.loads(path.read_text()) | {"roles": [*HOSTILE[:4], "last"]}
    path.write_text(json.dumps(found))
    _, page = report(folder)
    labels = [attributes.get("aria-label", "") for attributes in page.of("svg")]
    for role in HOSTILE[:4]:
        assert any(label.startswith(role) for label in labels)
    assert len(page.of("script")) == 1


def test_the_page_asks_nothing_of_the_network(make_fake_run):
    raw, page = report(make_fake_run())
    assert not any(tag in ("link", "img", "iframe", "object", "embed", "form", "base") for tag, _ in page.tags)
    for _, attributes in page.tags:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    assert "http:" not in raw
    assert "https:" not in raw
    assert "@import" not in raw
    assert "url(" not in raw
    policy = next(one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "prefers-color-scheme: dark" in raw
    assert len(raw) < 100_000


def test_tables_and_figures_can_be_heard(make_fake_run):
    raw, page = report(make_fake_run())
    assert len(page.of("caption")) == len(page.of("table")) >= 7
    assert all("scope" in attributes for attributes in page.of("th"))
    for attributes in page.of("svg"):
        assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"].strip())
    assert page.of("html") == [{"lang": "en"}]
    anchors = {attributes["href"][1:] for attributes in page.of("a")}
    assert anchors == {"content"} | {attributes["id"] for attributes in page.of("h2")}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert raw.startswith("<!doctype html>")


def test_the_item_that_came_next_is_marked_wherever_it_was_recommended(make_fake_run):
    folder = make_fake_run()
    raw, _ = report(folder)
    examples = json.loads((folder / "examples.json").read_text())
    hits = sum(item["title"] == one["truth"] for one in examples for listed in one["recommendations"].values() for item in listed)
    assert hits > 0
    assert raw.count("(came next)") == hits
    assert raw.count(f"<p><mark><bdi>{examples[0]['truth']}</bdi></mark></p>") == len(examples)


def test_whiskers_and_curves_lie_where_the_numbers_say(make_fake_run):
    folder = make_fake_run()
    run = json.loads((folder / "run.json").read_text())
    raw, _ = report(folder)
    widths = [(float(a), float(b)) for a, b in re.findall(r'<line class="whisker" x1="([\d.]+)" x2="([\d.]+)" y1="10"', raw)]
    first = len(run["methods"])  # whose own whiskers come first
    for place, metric in enumerate(("recall@10", "ndcg@10", "ndcg@5", "recall@5")):
        start = first + 3 * place
        spans = [one["high"] - one["low"] for one in run["differences"] if one["metric"] == metric]
        ratios = [(b - a) / span for (a, b), span in zip(widths[start : start + 3], spans, strict=True)]
        assert np.allclose(ratios, ratios[0], rtol=0.01)
    lines = re.findall(r'<polyline class="line c\d" points="([^"]+)"', raw)
    evaluated = [name for name, made in run["methods"].items() if any("ndcg@10" in entry for entry in made["curve"])]
    for name, line in zip(evaluated, lines, strict=False):
        heights = np.array([270 - 26 - float(point.split(",")[1]) for point in line.split()])
        values = np.array([entry["ndcg@10"] for entry in run["methods"][name]["curve"] if "ndcg@10" in entry])
        assert np.allclose(heights, values * heights[-1] / values[-1], atol=0.2)


@pytest.mark.parametrize(("epochs", "loss", "ticks"), [(1, 3.5, 0), (2, 3.5, 1), (2, 0.0, 1)])
def test_a_curve_without_height_or_length_keeps_readable_ticks(make_fake_run, epochs, loss, ticks):
    folder = make_fake_run()
    run = json.loads((folder / "run.json").read_text())
    for made in run["methods"].values():
        made["curve"] = [{"epoch": epoch, "loss": loss, "ndcg@10": 0.0} for epoch in range(1, 1 + epochs)]
    (folder / "run.json").write_text(json.dumps(run))
    raw, _ = report(folder)
    charts = re.findall(r'<svg viewBox="0 0 220 130".*?</svg>', raw, re.DOTALL)
    assert len(charts) == ticks * len(run["methods"])
    for chart in charts:
        labels = re.findall(r'text-anchor="end">([^<]+)<', chart)
        assert len(set(labels)) == len(labels) >= 1
        assert max(map(len, labels)) <= 6


def test_a_run_with_nothing_to_tell_says_so(make_fake_run):
    folder = make_fake_run()
    for path in [*(folder / "attention").iterdir(), folder / "examples.json"]:
        path.unlink()
    run = json.loads((folder / "run.json").read_text())
    run |= {"pattern": None, "semantic_ids": None, "differences": [], "note": "", "full_data": True}
    run["methods"] = {"popularity": run["methods"]["popularity"]}
    (folder / "run.json").write_text(json.dumps(run))
    _, page = report(folder)
    for sentence in ("reads reasoning chains", "kept no examples", "mined no pattern", "uses semantic IDs", "while it trained"):
        assert sentence in page.text
    assert "no published table" not in page.text


def test_a_loss_that_is_no_number_leaves_a_gap_and_not_a_broken_page(make_fake_run):
    folder = make_fake_run()
    run = json.loads((folder / "run.json").read_text())
    run["methods"]["tiger"]["curve"][3]["loss"] = float("nan")
    (folder / "run.json").write_text(json.dumps(run))
    raw, _ = report(folder)
    assert "nan" not in raw


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "run.json").unlink(), r"run\.json cannot be read .*pass the folder of a finished run"),
        (lambda folder: (folder / "run.json").write_text("{}"), r"run\.json has no experiment, dataset"),
        (lambda folder: (folder / "ranks" / "tiger-test.parquet").unlink(), r"tiger-test\.parquet cannot be read"),
        (
            lambda folder: (folder / "attention" / "scoter.json").write_text(
                json.dumps({"roles": ["a"], "attention_mean": [0.1] * 3, "gate_mean": [0.5]})
            ),
            "3 attention_mean values for 1 roles",
        ),
    ],
)
def test_a_folder_that_is_no_run_is_refused(make_fake_run, spoil, message):
    folder = make_fake_run()
    spoil(folder)
    with pytest.raises(DataError, match=message):
        write_report(folder, folder / "report.html")
    assert not (folder / "report.html").exists()


def test_each_contribution_stands_in_the_page_with_its_step_and_its_sign(make_fake_run):
    folder = make_fake_run()
    path = write_fake_explorer(folder)
    raw, page = report(folder, path)
    assert raw.count('class="sortable contributions"') == 2
    for step in ROLES:
        assert raw.count(f'<th scope="col" class="n step">{step}</th>') == 2
    for entry in json.loads(path.read_text()):
        read = entry["read"]["scoter"]
        found = any(item["truth"] for item in entry["recommendations"]["scoter"])
        items = [item["contributions"] for item in entry["recommendations"]["scoter"]]
        for values in items if found else [read["truth"], *items]:
            for value in values:
                assert f"{value:+.3f}" in page.texts
    widths = [int(width) for width in re.findall(r"--share:(\d+)%", raw)]
    assert max(widths) == 100
    assert raw.count("n share against") + raw.count("n share for") == len(widths) == (6 + 5) * len(ROLES)
    assert re.search(r'<td class="n" data-value="17">17</td><th scope="row"><mark>', raw)
    path.write_text(path.read_text().replace('"rank": 17', '"rank": null'))
    assert '<td class="n" data-value="1000000">deeper</td>' in report(folder, path)[0]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_and_marks_are_seen_in_both_schemes():
    style = (PAGES / "report.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    )
    assert light.keys() == dark.keys()
    for scheme in (light, dark):
        for front, back, least in [
            *((text, ground, 4.5) for text in ("ink", "soft", "accent") for ground in ("paper", "card")),
            *(("ink", ground, 4.5) for ground in ("mark", "note", "faint")),
            *((mark, "card", 3.0) for mark in (*(f"c{number}" for number in range(8)), "edge")),
        ]:
            one, two = sorted((luminance(scheme[front]), luminance(scheme[back])))
            assert (two + 0.05) / (one + 0.05) >= least, (front, back)
