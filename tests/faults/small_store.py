"""A small store that a real run of the simulated shop made, with a bundle, chains, a sentence cache
and replies beside it."""

from collections.abc import Callable
from pathlib import Path

from scoter.storage.store import Artefact, Store

SHOP = ("data.simulated.users=120", "data.simulated.min_length=6")
SETTINGS = (
    *SHOP,
    "methods.*.training.epochs=2",
    "methods.*.training.evaluate_every=1",
    "pattern=[]",
    "discover.patterns=6",
    "discover.users=50",
    "discover.fresh_users=50",
    "discover.rounds=1",
    "discover.max_clusters=3",
)


def run_small(
    store: Path, *settings: str, say: Callable[[str], None] = lambda line: None
) -> Artefact:
    """The run of every stage, in seconds: `simulated-smoke` with a mined pattern, 120 shoppers and
    two epochs."""
    from scoter import pipeline
    from scoter.config import with_overrides
    from scoter.experiments import experiment

    return pipeline.run(
        with_overrides(experiment("simulated-smoke"), (*SETTINGS, *settings)),
        store=Store(store),
        say=say,
    )


def write_small_chains(store: Path) -> None:
    """`scoter reason` of the same shop with the catalogue reasoner, into the store's
    `reason/chains`."""
    from scoter.cli.main import main

    flags = [part for setting in SHOP for part in ("--set", setting)]
    fixed = [
        "--store",
        str(store),
        "--out",
        str(store / "reason" / "chains"),
        "--shard-rows",
        "64",
        "--json",
    ]
    main(["reason", "simulated", *flags, *fixed], standalone_mode=False)


def make_small_store(root: Path) -> Path:
    """`root/store` with a finished run, chains and replies, and `root/bundle`."""
    import contextlib
    import io

    from scoter.reasoning.language.language_model import Completion, CompletionRequest, Message
    from scoter.reasoning.language.replies import RequestStore
    from scoter.serving.bundle import export_run
    from scoter.stages.discovery import REPLIES

    finished = run_small(root / "store")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        write_small_chains(root / "store")
    export_run(Store(root / "store"), finished, "scoter", root / "bundle")
    replies = RequestStore(root / "store" / REPLIES)
    for number in range(3):
        asked = CompletionRequest((Message("user", f"What comes after {number}?"),), "some-model")
        replies.put(asked, Completion(f"{number + 1} comes.", "stop", 5, 3, "{}"))
    return root
