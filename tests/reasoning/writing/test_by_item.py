"""Chains by item: who is asked about what, and what each prefix reads of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from reason_command import SHOP, arguments, bytes_of, chain_text, reason, rows_of, run_here
from scripted_server import ScriptedServer

import scoter
from scoter.errors import ConfigError
from scoter.reasoning.catalogue.view import every_prefix, look
from scoter.reasoning.chains.requests import WritingConfig
from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.reasoning.language.prompts import HISTORY_CLOSES
from scoter.reasoning.writing.engine import run_job
from scoter.reasoning.writing.folder import ChainFolder
from scoter.reasoning.writing.job import ChainJob
from scoter.reasoning.writing.reader import read_chains, read_pattern
from scoter.types import ReasoningPattern, Step

SMALL = {"dim": 16, "layers": 1, "heads": 2, "head_dim": 8, "feed_forward": 16}
PATTERN = ReasoningPattern((Step("likes"), Step("needs")))


class OfTitle:
    """Says the one title that it is asked about; answers nothing about every fifth item."""

    concurrency = 1

    def __init__(self) -> None:
        self.titles: list[str] = []

    def complete(self, request: CompletionRequest) -> Completion:
        before = request.messages[-1].content.split(f"\n{HISTORY_CLOSES}")[0]
        title = json.loads(before.splitlines()[-1])
        self.titles.append(title)
        steps = [{"role": step.role, "text": f"{step.role} {title}"} for step in PATTERN.steps]
        reply = json.dumps({"steps": steps, "recommendations": [f"after {title}"]})
        return Completion("no" if len(self.titles) % 5 == 0 else reply)


def item_job(split, catalog, **more) -> ChainJob:
    writing = WritingConfig("m", retries=0)
    return ChainJob(split, catalog, PATTERN, "shop", writing=writing, by="item", **more)


def test_a_prefix_reads_the_chains_of_its_last_items(random_shop, tmp_path: Path) -> None:
    split, catalog = random_shop
    model, folder = OfTitle(), ChainFolder(tmp_path)
    run_job(item_job(split, catalog, shard_rows=7), folder, model)
    used = np.bincount(split.train.items, minlength=catalog.item_count)
    order = sorted(range(catalog.item_count), key=lambda item: (-used[item], item))
    rows = rows_of(tmp_path)
    assert [row["user_key"] for row in rows] == [catalog.keys[item] for item in order]
    written = {row["user"]: row for row in rows if row["outcome"] == "valid"}
    assert 0 < catalog.item_count - len(written) < catalog.item_count / 4
    table = read_chains(tmp_path, split, catalog, items=2)
    labels = [step.label() for step in table.pattern.steps]
    assert labels == [
        f"{role}(lag={lag})" for lag in (1, 2) for role in ("likes", "needs", "recommendation")
    ]
    assert table.pattern == read_pattern(tmp_path, 2)
    users, lengths, starts = every_prefix(split)
    recent = look(split, users, lengths, 2).recent
    assert table.starts.tolist() == starts.tolist()
    for user, length, items in zip(users, lengths, recent, strict=True):
        expected = []
        for item in items:
            row = written.get(int(item))
            expected += [tuple(step["texts"]) for step in row["steps"]] if row else [(), ()]
            named = row["recommendations"] if row else []
            expected.append(tuple(f"The recommendation is {name}." for name in named))
        assert table.chain(int(user), int(length)).steps == tuple(expected)


def test_the_command_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = [part for part in arguments(tmp_path, out) if part not in ("--prefixes", "anchors:2")]
    with ScriptedServer(
        lambda prompt, attempt: "ok", lambda prompt, _: chain_text(prompt)
    ) as server:
        given += ["--language-model", "any", "--base-url", server.base_url, "--by", "item"]
        whole = reason([*given, "--shard-rows", "4"])
        asked, before = len(server.attempts), bytes_of(out)
        (out / "chains-00001.parquet").unlink()
        again = reason([*given, "--shard-rows", "4"])
        assert (again["outcomes"], bytes_of(out)) == (whole["outcomes"], before)
        assert len(server.attempts) == asked == whole["chains"]
        status, _, err = run_here(*given, "--users", "3")
        assert (status, "it needs a language model, all users and every prefix" in err) == (1, True)
    assert json.loads((out / "job.json").read_text())["by"] == "item"
    shown = ["chains", "show", "shopper-0", *SHOP, "--store", str(tmp_path / "store")]
    status, text, err = run_here(*shown, "--dataset", "simulated", "--source", out, "--items", "1")
    assert status == 0, err
    assert "likes(lag=1)" in text
    late = [*shown, "--dataset", "simulated", "--source", out, "--prefix", "999"]
    status, _, err = run_here(*late)
    assert (status, "--prefix 999: 'shopper-0' has chains for the prefixes 1 to" in err) == (
        1,
        True,
    )


def test_what_makes_no_sense_is_refused(random_shop, tmp_path: Path) -> None:
    split, catalog = random_shop
    lagged = ReasoningPattern((Step("recent_item", {"lag": 1}),))
    with pytest.raises(ConfigError, match="has a step with a lag; an item's steps get their lags"):
        ChainJob(split, catalog, lagged, "s", writing=WritingConfig("m"), by="item")
    with pytest.raises(ConfigError, match=r"by = 'item' .* needs a language model"):
        ChainJob(split, catalog, PATTERN, "s", by="item")
    run_job(item_job(split, catalog, limit=3), ChainFolder(tmp_path), OfTitle())
    with pytest.raises(ConfigError, match="items = 0; it must be 1 or more"):
        read_chains(tmp_path, split, catalog, items=0)


def test_an_estimator_reads_them(tmp_path: Path) -> None:
    shop = scoter.load_dataset("simulated", users=30)
    chains = scoter.write_chains(
        shop, PATTERN, language_model=OfTitle(), by="item", items=2, folder=tmp_path / "chains"
    )
    assert len(chains.pattern) == 6
    model = scoter.SCoTER(**SMALL, max_items=12, epochs=1, evaluate_every=1)
    model.fit(shop, chains, progress=False)
    assert scoter.evaluate(model, shop, chains).metrics.notna().all(axis=None)
