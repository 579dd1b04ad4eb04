"""Cornac's TIGER and RecTools' SASRec, each in a process of its own environment, in turn with ours.

A peer process (`peer_cornac.py`, `peer_rectools.py`) prepares itself once, then answers one line of
JSON for each line that it is sent; what it times is timed inside it.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.decoding import OurDecoding
from benchmarks.speed.timing import Clock, Sample, alternate, ratio, summary
from benchmarks.speed.training import CONFIG, OurTraining, build, time_steps, users_of, warm_up
from benchmarks.speed.work import SIZE, Work
from scoter.config import SasrecConfig
from scoter.models.backbones.sasrec import SASRec
from scoter.models.training.batches import cut_windows, training_batches
from scoter.seeding import derive_seed
from scoter.types import Histories, InteractionLog

HOW = {
    "cornac": "pip install 'cornac>=3' transformers",
    "rectools": "pip install 'rectools[torch]'",
}
MARK = "@ "
SASREC = SasrecConfig(loss="ce")


def peer_rows(work: Work, pythons: dict[str, str | None], repeats: int) -> list[dict[str, Any]]:
    """The rows of every peer; a peer that cannot run gives one row that says why."""
    rows = []
    for name, measure in (("cornac", _cornac), ("rectools", _rectools)):
        python = pythons.get(name)
        if python is None:
            why = (
                f"no Python with it; make an environment ({HOW[name]}) and pass --{name}-python "
                f"PATH/bin/python"
            )
            rows.append({"task": name, "skipped": why})
            continue
        try:
            rows += measure(work, python, repeats)
        except PeerError as error:
            rows.append({"task": name, "skipped": str(error)})
    return rows


class PeerError(Exception):
    """The other process ended or printed something else than an answer."""


class Peer:
    """A running peer. Use as a context."""

    def __init__(self, name: str, python: str, task: dict[str, Any]) -> None:
        self.name, self.folder = name, tempfile.TemporaryDirectory()
        (Path(self.folder.name) / "task.json").write_text(json.dumps(task))
        self.log = (Path(self.folder.name) / "stderr.txt").open("w+")  # closed by __exit__
        # -I: the folder of the script is not searched for modules.
        command = [
            python,
            "-I",
            str(Path(__file__).with_name(f"peer_{name}.py")),
            str(Path(self.folder.name) / "task.json"),
        ]
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": self.log,
        }
        self.process = subprocess.Popen(
            command, text=True, cwd=self.folder.name, env=os.environ.copy(), **pipes
        )
        self.versions: dict[str, str] = {}

    def __enter__(self) -> "Peer":
        try:
            self.versions = self._answer()
        except PeerError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.folder.cleanup()

    def do(self, what: str, **arguments: Any) -> Callable[[int], Sample]:
        """The peer's `what`, once a repeat."""

        def work(repeat: int) -> Sample:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps({"do": what, "repeat": repeat, **arguments}) + "\n")
            self.process.stdin.flush()
            return Sample(**self._answer())

        return work

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        self.log.seek(0)
        last = [line.strip() for line in self.log.read().splitlines() if line.strip()][-1:]
        raise PeerError(f"{self.name} ended early ({' '.join(last) or 'it printed no reason'})")


def _cornac(work: Work, python: str, repeats: int) -> list[dict[str, Any]]:
    """Training of both on one log's users, and beam search over the whole catalogue with random
    weights."""
    users = np.random.default_rng(derive_seed(0, "cornac")).permutation(work.log.user_count)[:48]
    sizes = {
        "d_model": SIZE.dim,
        "d_ff": SIZE.feed_forward,
        "num_heads": SIZE.heads,
        "d_kv": SIZE.head_dim,
    }
    sizes |= {
        "num_enc_layers": SIZE.layers,
        "num_dec_layers": SIZE.layers,
        "dropout": SIZE.dropout,
        "max_len": SIZE.max_items,
    }
    task = {
        "sequences": [work.log.sequence(int(user)).tolist() for user in users],
        "items": len(work.ids.codes),
        "sizes": sizes,
    }
    rows = []
    with Peer("cornac", python, task) as peer:
        version = f"Cornac {peer.versions['cornac']} TIGER"
        turns = {"ours": OurTraining(work, build(work.ids), "fp32", 4), "theirs": peer.do("train")}
        rows += _pair(
            "training",
            "targets",
            version + ", as it trains: padded to 20 items",
            alternate(turns, repeats),
        )
        for beams in (20, 50):
            turns = {
                "ours": OurDecoding(work, build(work.ids), beams, 256),
                "theirs": peer.do("decode", beams=beams),
            }
            rows += _pair(
                f"decoding, {beams} beams",
                "users",
                version + ", one user a call",
                alternate(turns, repeats),
            )
    return rows


def _rectools(work: Work, python: str, repeats: int, users: int = 1000) -> list[dict[str, Any]]:
    """SASRec of one size with the full softmax: training epochs over some users, and the best ten
    of their whole catalogue."""
    chosen = np.random.default_rng(derive_seed(0, "rectools")).permutation(work.log.user_count)[
        :users
    ]
    some = users_of(work.log, np.sort(chosen))
    items, numbers = np.unique(some.items, return_inverse=True)
    log = InteractionLog(numbers, some.offsets, some.user_keys)
    sizes = {
        "n_blocks": SASREC.layers,
        "n_heads": SASREC.heads,
        "n_factors": SASREC.dim,
        "dropout_rate": SASREC.dropout,
    }
    sizes |= {
        "session_max_len": SASREC.max_items,
        "loss": "softmax",
        "lr": CONFIG.learning_rate,
        "batch_size": 128,
    }
    task = {
        "sequences": [log.sequence(user).tolist() for user in range(log.user_count)],
        "sizes": sizes,
    }
    torch.manual_seed(0)
    model = SASRec(SASREC, len(items))
    windows = cut_windows(log, SASREC.max_items)
    histories = Histories(np.arange(log.user_count), log.items, log.offsets)

    def train(repeat: int) -> Sample:
        batches = training_batches(log, windows, CONFIG.batch_targets, repeat)
        return time_steps(model, [warm_up(log, SASREC.max_items), *batches], "fp32")

    def rank(repeat: int) -> Sample:
        clock = Clock()
        model.recommend(histories, 10)
        return clock.stop(len(histories))

    with Peer("rectools", python, task) as peer:
        version = f"RecTools {peer.versions['rectools']} SASRec"
        trained = alternate({"ours": train, "theirs": peer.do("train")}, repeats)
        ranked = alternate({"ours": rank, "theirs": peer.do("rank")}, repeats)
    return [
        *_pair(
            "SASRec training",
            "targets",
            version + ", full softmax, padded to 50 items",
            trained,
            "scoter SASRec",
        ),
        *_pair("SASRec full ranking", "users", version, ranked, "scoter SASRec"),
    ]


def _pair(
    task: str, unit: str, theirs: str, samples: dict[str, list[Sample]], ours: str = "scoter"
) -> list[dict[str, Any]]:
    found = ratio(samples["ours"], samples["theirs"])
    row = {"task": task, "unit": unit, "precision": "fp32"}
    rows = [
        {**row, "name": name, "side": side, **summary(samples[side])}
        for side, name in (("ours", ours), ("theirs", theirs))
    ]
    rows[0] |= {"ratio": found["value"], "ratio_spread": found, "against": theirs}
    return rows
