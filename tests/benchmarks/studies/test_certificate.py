"""Certificates of chains whose truth is known; the page says what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.documents import ROOT
from benchmarks.studies import certificate
from scoter.errors import ConfigError
from theory.exact import OrderChannel, bayes_recall

MODEL = OrderChannel(4, 3, 200, order_weight=1.0, noise=0.2, seed=1)


@pytest.fixture(scope="module")
def chains(tmp_path_factory) -> Path:
    """4,000 users of the order channel, and the reader that knows its law."""
    z, targets = MODEL.sample(4000, seed=0)
    best = np.argsort(-MODEL.channel, axis=1, kind="stable")[:, : certificate.K]
    path = tmp_path_factory.mktemp("chains") / "mine.npz"
    np.savez(path, steps=np.eye(4)[z], lists=best[z @ [16, 4, 1]], targets=targets)
    return path


def test_what_is_certified_is_below_the_truth_and_nothing_over_a_pool_that_keeps_all(
    chains, tmp_path
):
    picture = tmp_path / "mine.svg"
    shown = CliRunner().invoke(main, ["certificate", str(chains), "--picture", str(picture)])
    assert shown.exit_code == 0, shown.output
    assert "mine, 2,000 users: Recall@10" in shown.output
    assert "every reader" in shown.output
    assert picture.read_text().startswith("<?xml")
    (row,) = certificate.measure(chains, None, "", "test", 0, tmp_path)["rows"]
    ordered, k = MODEL.recall(certificate.K), certificate.K
    bags, alone = MODEL.recall(k, "multiset"), bayes_recall(MODEL.joint().sum(0)[None], k)
    first = row["cells"][0]
    assert 0 < first["gain_lower"] < ordered - alone
    assert first["nats_lower"] < MODEL.information()
    assert all(cell["gain_lower"] < ordered - alone for cell in row["cells"])
    assert bags == pytest.approx(ordered)  # a multiset has at most six orders, a list ten items
    assert row["cells"][-1]["gain_lower"] < 0
    assert row["cells"][-1]["collapsed_upper"] >= bags
    assert row["lift"]["high"] > 0


def test_a_file_of_other_shapes_is_refused(tmp_path):
    path = tmp_path / "flat.npz"
    np.savez(path, steps=np.zeros((9, 3)), lists=np.zeros((9, 2), int), targets=np.zeros(9, int))
    with pytest.raises(ConfigError, match=r"steps \(9, 3\).*give \[n, K, d\]"):
        certificate.measure(path, None, "", "test", 0, tmp_path)


def test_the_page_says_what_was_measured():
    page = (ROOT / "docs" / "when-structure-pays.md").read_text()
    measured = json.loads((ROOT / "benchmarks" / "results" / certificate.FILE).read_text())
    for row in measured["rows"]:
        lift, beyond = row["lift"], row["beyond"]
        cells = [
            row["name"],
            *(f"{row[name]:.4f}" for name in ("recall", "collapsed_recall")),
            f"{lift['mean']:+.4f} [{lift['low']:+.4f}, {lift['high']:+.4f}]",
            *(f"{cell['gain_lower']:+.4f}" for cell in row["cells"][:4]),
            f"{beyond['nats']:+.4f} [{beyond['low']:+.4f}, {beyond['high']:+.4f}]",
            f"{row['ceiling']:.4f} ({row['statement']})",
        ]
        assert "| " + " | ".join(cells) + " |" in page
        assert f"with {row['users']:,} users to judge" in page
