"""Chains from a folder are those that were written, at the right places, and of this data only."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest

from scoter.errors import DataError
from scoter.models.step_reader import StepReader
from scoter.reasoning.chains.prefixes import PrefixPolicy
from scoter.reasoning.chains.table import hand_written_pattern, write_chains
from scoter.reasoning.writing.engine import run_job
from scoter.reasoning.writing.folder import ChainFolder
from scoter.reasoning.writing.job import ChainJob
from scoter.reasoning.writing.reader import read_chains
from scoter.types import ReasoningPattern, Step, Targets


def job_of(split, catalog, policy="every", pattern=None, **more):
    return ChainJob(
        split,
        catalog,
        pattern or hand_written_pattern(catalog),
        "shop",
        PrefixPolicy.parse(policy),
        shard_rows=50,
        **more,
    )


@pytest.mark.parametrize("recommends", [True, False])
def test_a_folder_of_every_prefix_is_what_is_written_in_memory(recommends, random_shop, tmp_path):
    split, catalog = random_shop
    pattern = hand_written_pattern(catalog)
    pattern = pattern if recommends else ReasoningPattern(pattern.steps[:-1])
    run_job(job_of(split, catalog, pattern=pattern, fold_seed=3), ChainFolder(tmp_path), None)
    read, written = (
        read_chains(tmp_path, split, catalog),
        write_chains(split, catalog, pattern, seed=3),
    )
    assert read.starts.tolist() == written.starts.tolist()
    assert read.pattern == written.pattern
    for user in range(split.train.user_count):
        for length in range(1, int(read.starts[user + 1] - read.starts[user]) + 1):
            assert read.chain(user, length).steps == written.chain(user, length).steps


def test_a_prefix_reads_the_latest_anchor_that_is_not_later(random_shop, tmp_path):
    split, catalog = random_shop
    run_job(job_of(split, catalog, "anchors:4:3"), ChainFolder(tmp_path), None)
    read = read_chains(tmp_path, split, catalog)
    every = write_chains(split, catalog, hand_written_pattern(catalog), seed=0)
    none = ((),) * len(read.pattern)
    for user in range(split.train.user_count):
        for length in range(1, int(read.starts[user + 1] - read.starts[user]) + 1):
            anchor = min(length // 4, 3) * 4
            assert read.chain(user, length).steps == (
                every.chain(user, anchor).steps if anchor else none
            )


def test_before_the_first_anchor_a_fusion_sees_nothing(random_shop, encode, tmp_path):
    import torch

    split, catalog = random_shop
    run_job(job_of(split, catalog, "anchors:4"), ChainFolder(tmp_path), None)
    table = read_chains(tmp_path, split, catalog)
    user = int(np.argmax(split.train.lengths))
    steps, mask = StepReader(table.embed(encode(table.sentences), "words")).read(
        torch.full((2,), user), torch.tensor([3, 4])
    )
    assert not mask[0].any()
    assert not steps[0].any()
    assert mask[1].any()


def test_nobody_reads_what_was_written_from_later_items(random_shop, tmp_path):
    """Whoever changes the items from place t on changes no chain that a prefix of less than t items
    reads."""
    split, catalog = random_shop
    user = int(np.argmax(split.train.lengths))
    begin, place = int(split.train.offsets[user]), 9
    items = split.train.items.copy()
    items[begin + place - 1 : split.train.offsets[user + 1]] = (
        items[begin + place - 1 : split.train.offsets[user + 1]] + 1
    ) % 40
    other = dataclasses.replace(split, train=dataclasses.replace(split.train, items=items))
    tables = []
    for name, one in (("one", split), ("other", other)):
        pattern = ReasoningPattern((Step("history_summary", {"count": 20}),))
        run_job(job_of(one, catalog, "anchors:3", pattern), ChainFolder(tmp_path / name), None)
        tables.append(read_chains(tmp_path / name, one, catalog))
    for length in range(1, int(split.train.lengths[user]) + 1):
        same = tables[0].chain(user, length).steps == tables[1].chain(user, length).steps
        assert same == (length < place)


def test_chains_of_other_data_are_refused(random_shop, tmp_path):
    split, catalog = random_shop
    run_job(job_of(split, catalog), ChainFolder(tmp_path), None)
    moved = dataclasses.replace(split.train, items=np.roll(split.train.items, 1))
    with pytest.raises(DataError, match="was not written from that user's first items here"):
        read_chains(tmp_path, dataclasses.replace(split, train=moved), catalog)
    renamed = dataclasses.replace(
        split.train, user_keys=tuple(f"other {key}" for key in split.train.user_keys)
    )
    with pytest.raises(DataError, match="holds no chain of any user of these data"):
        read_chains(tmp_path, dataclasses.replace(split, train=renamed), catalog)
    none = Targets(np.zeros(0, np.int64), np.zeros(0, np.int64))
    with pytest.raises(
        DataError, match="at prefix length"
    ):  # one that saw an item which is not there now
        read_chains(tmp_path, dataclasses.replace(split, valid=none), catalog)


def test_the_content_key_is_of_the_content(random_shop, tmp_path):
    split, catalog = random_shop
    keys = []
    for name, limit in (("a", 120), ("b", 120), ("c", 121)):
        folder = ChainFolder(tmp_path / name)
        with pytest.raises(DataError, match="no finished chains"):
            folder.content_key()
        run_job(job_of(split, catalog, limit=limit), folder, None)
        keys.append(folder.content_key())
    assert keys[0] == keys[1] != keys[2]
    path = tmp_path / "a" / "chains-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(DataError, match=r"chains-00001.parquet was altered since it was written"):
        ChainFolder(tmp_path / "a").content_key()
