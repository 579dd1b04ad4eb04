"""The report read back with an HTML parser: whole, safe, self-contained, and with every number of
the run."""

import base64
import itertools
import json
import re

import numpy as np
import pytest
from fake_run import HOSTILE, KEY, PATTERN, ROLES, write_fake_explorer, write_fake_run
from page_reader import Page, allowed_scripts

from scoter.errors import DataError
from scoter.evaluation.evaluator import load_user_metrics
from scoter.evaluation.metrics import per_user
from scoter.evaluation.significance import bootstrap_mean
from scoter.report.charts import bars
from scoter.report.page import PAGES, cpu_time
from scoter.report.pattern import in_brief
from scoter.report.run_report import shoppers, write_report


@pytest.fixture
def make_fake_run(tmp_path):
    return lambda **changes: write_fake_run(tmp_path / "run", **changes)


def report(folder, explored=None, picture=None) -> tuple[str, Page]:
    out = folder / "pages" / "report.html"
    write_report(folder, out, explored, picture)
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    return text, page


def test_every_number_of_the_run_stands_in_the_page(make_fake_run):
    folder = make_fake_run()
    run = json.loads((folder / "run.json").read_text())
    _, page = report(folder)
    for number, (name, made) in enumerate(run["methods"].items()):
        kept = load_user_metrics(folder / "ranks" / f"{name}-test.parquet")
        for metric in ("recall@5", "ndcg@5", "recall@10", "ndcg@10"):
            found = bootstrap_mean(per_user(kept, metric), seed=0)
            assert (
                f"{made['metrics']['test'][metric]:.4f} [{found.low:.4f}, {found.high:.4f}]"
                in page.text
            )
        costs = [f"{made[key]:,.0f}" for key in ("peak_mib", "parameters") if key in made]
        for shown in (*costs, *([cpu_time(made["cpu_seconds"])] if number else [])):
            assert shown in page.texts
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
        "0.0710",
    ):
        assert text in page.text
    assert "recent item, 1 ago" in page.texts
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
    assert not any(
        tag in ("link", "img", "iframe", "object", "embed", "form", "base") for tag, _ in page.tags
    )
    for _, attributes in page.tags:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    assert "http:" not in raw
    assert "https:" not in raw
    assert "@import" not in raw
    assert "url(" not in raw
    policy = next(
        one["content"]
        for one in page.of("meta")
        if one.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert "prefers-color-scheme: dark" in raw
    assert len(raw) < 100_000


def test_tables_and_figures_can_be_heard(make_fake_run):
    raw, page = report(make_fake_run())
    assert len(page.of("caption")) == len(page.of("table")) >= 7
    assert all("scope" in attributes for attributes in page.of("th"))
    for attributes in page.of("svg"):
        assert attributes.get("aria-hidden") == "true" or (
            attributes["role"] == "img" and attributes["aria-label"].strip()
        )
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
    hits = sum(
        item["title"] == one["truth"]
        for one in examples
        for listed in one["recommendations"].values()
        for item in listed
    )
    assert hits > 0
    assert raw.count("(came next)") == hits
    assert raw.count(f"<p><mark><bdi>{examples[0]['truth']}</bdi></mark></p>") == len(examples)


def test_whiskers_and_curves_lie_where_the_numbers_say(make_fake_run):
    folder = make_fake_run()
    run = json.loads((folder / "run.json").read_text())
    raw, _ = report(folder)
    widths = [
        (float(a), float(b))
        for a, b in re.findall(r'<line class="whisker" x1="([\d.]+)" x2="([\d.]+)" y1="10"', raw)
    ]
    first = len(run["methods"])  # whose own whiskers come first
    for place, metric in enumerate(("recall@10", "ndcg@10", "ndcg@5", "recall@5")):
        start = first + 3 * place
        spans = [one["high"] - one["low"] for one in run["differences"] if one["metric"] == metric]
        ratios = [
            (b - a) / span for (a, b), span in zip(widths[start : start + 3], spans, strict=True)
        ]
        assert np.allclose(ratios, ratios[0], rtol=0.01)
    lines = re.findall(r'<polyline class="line c\d" points="([^"]+)"', raw)
    evaluated = [
        name
        for name, made in run["methods"].items()
        if any("ndcg@10" in entry for entry in made["curve"])
    ]
    for name, line in zip(evaluated, lines, strict=False):
        heights = np.array([270 - 26 - float(point.split(",")[1]) for point in line.split()])
        values = np.array(
            [entry["ndcg@10"] for entry in run["methods"][name]["curve"] if "ndcg@10" in entry]
        )
        assert np.allclose(heights, values * heights[-1] / values[-1], atol=0.2)


@pytest.mark.parametrize(("epochs", "loss", "ticks"), [(1, 3.5, 0), (2, 3.5, 1), (2, 0.0, 1)])
def test_a_curve_without_height_or_length_keeps_readable_ticks(make_fake_run, epochs, loss, ticks):
    folder = make_fake_run()
    run = json.loads((folder / "run.json").read_text())
    for made in run["methods"].values():
        made["curve"] = [
            {"epoch": epoch, "loss": loss, "ndcg@10": 0.0} for epoch in range(1, 1 + epochs)
        ]
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
    for sentence in (
        "reads reasoning chains",
        "kept no examples",
        "mined no pattern",
        "uses semantic IDs",
        "while it trained",
    ):
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
        (
            lambda folder: (folder / "run.json").unlink(),
            r"run\.json cannot be read .*pass the folder of a finished run",
        ),
        (
            lambda folder: (folder / "run.json").write_text("{}"),
            r"run\.json has no experiment, dataset",
        ),
        (
            lambda folder: (folder / "ranks" / "tiger-test.parquet").unlink(),
            r"tiger-test\.parquet cannot be read",
        ),
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
    for step in in_brief(ROLES):
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
    assert (
        raw.count("n share against") + raw.count("n share for")
        == len(widths)
        == (6 + 5) * len(ROLES)
    )
    assert re.search(r'<td class="n" data-value="17">17</td><th scope="row"><mark>', raw)
    path.write_text(path.read_text().replace('"rank": 17', '"rank": null'))
    assert '<td class="n" data-value="1000000">deeper</td>' in report(folder, path)[0]


def test_of_a_long_chain_the_steps_that_changed_most_are_shown():
    labels = [f"recommendation(count=1, rank={rank})" for rank in range(1, 13)]
    changes = [0.1 * rank for rank in range(12)]
    items = [{"title": "soap", "score": -1.0, "contributions": [-change for change in changes]}]
    read = {"steps": labels, "attention": dict(zip(labels, changes, strict=True)), "truth": changes}
    entry = {"user": "u", "steps": [], "truth": "gel", "recommendations": {"scoter": items}}
    (user,) = shoppers([{**entry, "read": {"scoter": {**read, "rank": None, "gate": 0.5}}}])
    found = user["read"]["scoter"]
    assert found["steps"] == [f"item, rank {rank}" for rank in range(3, 13)]
    assert found["truth"] == changes[2:]
    assert found["all"] == 12
    assert found["largest"] == changes[-1]
    assert user["recommendations"]["scoter"][0]["contributions"] == [-c for c in changes[2:]]
    assert found["attention"][0] == ("item, rank 12", changes[-1])


def test_the_page_opens_on_a_user_whom_only_a_chain_served():
    items = [{"title": "soap", "score": -1.0}]

    def user(name, *found_by):
        lists = {arm: items if arm in found_by else [] for arm in ("tiger", "scoter")}
        return {"user": name, "steps": [], "truth": "soap", "recommendations": lists}

    users = [user("a"), user("b", "tiger", "scoter"), user("c", "scoter"), user("d", "scoter")]
    assert [one["user"] for one in shoppers(users) if one["opens"]] == ["c"]
    assert [one["user"] for one in shoppers(users[:2]) if one["opens"]] == ["a"]


def test_a_pattern_is_told_in_words_and_its_clusters_and_rivals_are_tables(make_fake_run):
    _raw, page = report(make_fake_run())
    said = page.text[page.text.index("What each step of a chain says, in order") :]
    assert "1. recent item: the brand, 1 purchase ago 100%" in said
    assert "2. recommendation: up to 5, after the last 3 items 51%" in said
    assert "recall@10 at fresh users 0.0710 [0.0630, 0.0790]" in page.text
    best = "brand, 2 ago \N{RIGHTWARDS ARROW} brand loyalty"
    for place, share in (("1 (chosen)", "38%"), ("2", "12%")):
        row = f"{place} {best} {share} 0.0700 [0.0500, 0.0900] 0.0300 [0.0200, 0.0400]"
        assert row in page.text
    gains = "+0.0050 [-0.0100, +0.0200] -0.0020 [-0.0090, +0.0050]"
    assert f"best generated 0.0660 [0.0470, 0.0910] {gains} 23,500 + 500" in page.text
    assert "optimism / bound 0.0589" in page.text
    assert not page.of("img")


def test_no_value_of_a_run_is_printed_as_code(make_fake_run):
    folder = make_fake_run()
    run = json.loads((folder / "run.json").read_text())
    run["pattern"]["pattern"] |= {"steps": [{"role": "likely_next"}], "votes": []}
    run["pattern"]["pattern"]["odd"] = [{"a": 1}, {"b": [2, None]}]
    run["pattern"]["counts"] = {"requests": 3, "failed_attempts": {"timeout": 2}}
    (folder / "run.json").write_text(json.dumps(run))
    _, page = report(folder)
    words = page.text[page.text.rindex("Reasoning pattern") : page.text.rindex("How it was made")]
    assert "likely next" in words
    assert "votes of its cluster" not in words
    assert "a 1, b 2, none" in words
    assert "counts / failed_attempts / timeout 2" in words
    assert not re.search(r"[{}]|\[[\[{'\"]|'\w+'|None|True|False", words)


def test_the_picture_of_a_discovery_is_inside_the_page(make_fake_run, tmp_path):
    picture = tmp_path / "picture.svg"
    picture.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>harmed</script></svg>")
    raw, page = report(make_fake_run(), picture=picture)
    (image,) = page.of("img")
    head, _, content = image["src"].partition(",")
    assert head == "data:image/svg+xml;base64"
    assert base64.b64decode(content) == picture.read_bytes()
    assert image["alt"].startswith(PATTERN["picture_of"])
    assert "http:" not in raw
    assert page.scripts == allowed_scripts(raw)


def test_a_bar_says_its_share_of_the_scale_and_a_gates_scale_is_from_nought_to_one(make_fake_run):
    folder = make_fake_run()
    gates = json.loads((folder / "attention" / "scoter.json").read_text())["gate_mean"]
    raw, _ = report(folder)
    table = re.search(r"<caption>Gate of scoter by layer.*?</table>", raw, re.DOTALL)[0]
    full = {float(width) for width in re.findall(r'class="track" x="8" width="([\d.]+)"', table)}
    assert full == {184}
    lengths = re.findall(r'class="bar" x="8" width="([\d.]+)"', table)
    assert [float(length) for length in lengths] == pytest.approx(np.multiply(184, gates), abs=0.01)
    ticks = re.findall(r'<text class="tick" x="([\d.]+)".*?>([\d.]+)<', table)
    assert ticks == [("8.0", "0"), ("100.0", "0.5"), ("192.0", "1")]


def test_a_scale_without_an_end_has_a_round_one_that_holds_every_bar():
    found = bars([("a", 0.5674), ("b", 0.2837), ("below", -0.1)])
    place, text = found.ticks[-1]
    assert text == "0.6"
    assert place == found.zero + found.full
    first, second, below = (row.length for row in found.rows)
    assert first == pytest.approx(found.full * 0.5674 / 0.6, abs=0.01)
    assert first == pytest.approx(2 * second, abs=0.02)
    assert below == 0
    assert {row.length for row in bars([("none", 0.0)]).rows} == {0.0}


def test_what_was_not_trained_has_no_time_and_no_best_epoch(make_fake_run):
    folder = make_fake_run()
    run = json.loads((folder / "run.json").read_text())
    run["methods"]["popularity"] |= {"cpu_seconds": 0.0, "best_epoch": 0}
    (folder / "run.json").write_text(json.dumps(run))
    raw, _ = report(folder)
    costs = raw[raw.index("<caption>What each method took") :]
    row = re.search(r"popularity</th>(.*?)</tr>", costs, re.DOTALL)[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", row) == ["0", "", "", "", "0"]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_and_marks_are_seen_in_both_schemes():
    style = (PAGES / "report.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.S)
    )
    assert light.keys() == dark.keys()
    for scheme in (light, dark):
        for front, back, least in [
            *(
                (text, ground, 4.5)
                for text in ("ink", "soft", "accent")
                for ground in ("paper", "card")
            ),
            *(("ink", ground, 4.5) for ground in ("mark", "note", "faint")),
            *((mark, "card", 3.0) for mark in (*(f"c{number}" for number in range(8)), "edge")),
        ]:
            one, two = sorted((luminance(scheme[front]), luminance(scheme[back])))
            assert (two + 0.05) / (one + 0.05) >= least, (front, back)
