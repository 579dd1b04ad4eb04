"""Cornac's TIGER and RecTools' SASRec, each in a process of its own environment, in turn with ours.

A peer process (`peer.py`) prepares itself once, then answers one line of JSON for each line that it
is sent; it times its own work.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.decoding import OurDecoding
from benchmarks.speed.timing import Clock, Contender, Sample, alternate, ratio, summary
from benchmarks.speed.training import CONFIG, OurTraining, build, time_steps, users_of, warm_up
from benchmarks.speed.work import SIZE, Work, whole_histories
from scoter.config import SasrecConfig
from scoter.models.backbones.sasrec import SASRec
from scoter.models.training.batches import cut_windows, training_batches
from scoter.seeding import derive_seed
from scoter.types import InteractionLog

HOW = {"cornac": "'cornac>=3' transformers", "rectools": "'rectools[torch]'"}  # what pip installs
MARK = "@ "
SASREC = SasrecConfig(loss="ce")

Row = dict[str, Any]  # a row of the result, as JSON holds it


def peer_rows(work: Work, pythons: Mapping[str, str | None], repeats: int) -> list[Row]:
    """The rows of every peer; a peer that cannot run gives one row that says why."""
    rows: list[Row] = []
    for name, measure in (("cornac", _cornac), ("rectools", _rectools)):
        python = pythons.get(name)
        try:
            if python is None:
                remedy = f"`pip install {HOW[name]}` and pass --{name}-python PATH/bin/python"
                raise PeerError(f"no Python with it; {remedy}")
            rows += measure(work, python, repeats)
        except PeerError as error:
            rows.append({"task": name, "skipped": str(error)})
    return rows


class PeerError(Exception):
    """The other process is not there, ended, or printed something else than an answer."""


@contextmanager
def running(name: str, python: str, task: Row) -> Iterator["Peer"]:
    """A peer that this Python runs, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        given, log = Path(folder) / "task.json", Path(folder) / "stderr.txt"
        given.write_text(json.dumps(task))
        # -I: the folder of the script is not searched for modules.
        command = [python, "-I", str(Path(__file__).with_name("peer.py")), name, str(given)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": folder}
        with log.open("w") as errors, subprocess.Popen(command, stderr=errors, **pipes) as process:
            try:
                yield Peer(name, process, log)
            finally:
                try:
                    process.communicate(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()


class Peer:
    """The other process: what it is asked to do, and what it answers."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.name, self.log, self.asked, self.answers = name, log, process.stdin, process.stdout
        self.versions = self._answer()

    def do(self, what: str, **arguments: int) -> Contender:
        """The peer's `what`, once a repeat."""

        def work(repeat: int) -> Sample:
            request = json.dumps({"do": what, "repeat": repeat, **arguments})
            print(request, file=self.asked, flush=True)
            return Sample(**self._answer())

        return work

    def _answer(self) -> Row:
        for line in self.answers:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        last = self.log.read_text().strip().splitlines()[-1:]
        raise PeerError(f"{self.name} ended early ({' '.join(last) or 'it printed no reason'})")


def _cornac(work: Work, python: str, repeats: int) -> list[Row]:
    """Training on some users, and beam search over the whole catalogue with random weights."""
    users = np.random.default_rng(derive_seed(0, "cornac")).permutation(work.log.user_count)[:48]
    sizes = {"d_model": SIZE.dim, "d_ff": SIZE.feed_forward, "num_heads": SIZE.heads}
    sizes |= {"d_kv": SIZE.head_dim, "num_enc_layers": SIZE.layers, "num_dec_layers": SIZE.layers}
    sizes |= {"dropout": SIZE.dropout, "max_len": SIZE.max_items}
    sequences = [work.log.sequence(user).tolist() for user in users.tolist()]
    task = {"sequences": sequences, "items": len(work.ids.codes), "sizes": sizes}
    rows: list[Row] = []
    with running("cornac", python, task) as peer:
        version = f"Cornac {peer.versions['cornac']} TIGER"
        against, ours = version + ", as it trains: padded to 20 items", build(work.ids)
        turns = {"ours": OurTraining(work, ours, "fp32", 4), "theirs": peer.do("train")}
        rows += _pair("training", "targets", against, alternate(turns, repeats))
        for beams in (20, 50):
            ours = OurDecoding(work, build(work.ids), beams, 256)
            turns = {"ours": ours, "theirs": peer.do("decode", beams=beams)}
            task_name, against = f"decoding, {beams} beams", version + ", one user a call"
            rows += _pair(task_name, "users", against, alternate(turns, repeats))
    return rows


def _rectools(work: Work, python: str, repeats: int, users: int = 1000) -> list[Row]:
    """SASRec with the full softmax: training epochs over some users, and their best ten items."""
    rng = np.random.default_rng(derive_seed(0, "rectools"))
    chosen = users_of(work.log, np.sort(rng.permutation(work.log.user_count)[:users]))
    items, numbers = np.unique(chosen.items, return_inverse=True)
    log = InteractionLog(numbers, chosen.offsets, chosen.user_keys)
    sizes = {"n_blocks": SASREC.layers, "n_heads": SASREC.heads, "n_factors": SASREC.dim}
    sizes |= {"dropout_rate": SASREC.dropout, "session_max_len": SASREC.max_items}
    sizes |= {"loss": "softmax", "lr": CONFIG.learning_rate, "batch_size": 128}
    sequences = [log.sequence(user).tolist() for user in range(log.user_count)]
    train, rank = _our_sasrec(log, len(items))
    with running("rectools", python, {"sequences": sequences, "sizes": sizes}) as peer:
        version = f"RecTools {peer.versions['rectools']} SASRec"
        trained = alternate({"ours": train, "theirs": peer.do("train")}, repeats)
        ranked = alternate({"ours": rank, "theirs": peer.do("rank")}, repeats)
    against, name = version + ", full softmax, padded to 50 items", "scoter SASRec"
    rows = _pair("SASRec training", "targets", against, trained, name)
    return rows + _pair("SASRec full ranking", "users", version, ranked, name)


def _our_sasrec(log: InteractionLog, items: int) -> tuple[Contender, Contender]:
    torch.manual_seed(0)
    model, most = SASRec(SASREC, items), SASREC.max_items
    windows, histories = cut_windows(log, most), whole_histories(log)

    def train(repeat: int) -> Sample:
        batches = training_batches(log, windows, CONFIG.batch_targets, repeat)
        return time_steps(model, [warm_up(log, most), *batches], "fp32")

    def rank(repeat: int) -> Sample:
        clock = Clock()
        model.recommend(histories, 10)
        return clock.stop(len(histories))

    return train, rank


def _pair(
    task: str,
    unit: str,
    against: str,
    samples: Mapping[str, Sequence[Sample]],
    name: str = "scoter",
) -> list[Row]:
    row, spread = {"task": task, "unit": unit, "precision": "fp32"}, ratio(*samples.values())
    ours, theirs = (
        {**row, "name": who, "side": side, **summary(samples[side])}
        for side, who in (("ours", name), ("theirs", against))
    )
    return [ours | {"ratio": spread["value"], "ratio_spread": spread, "against": against}, theirs]
