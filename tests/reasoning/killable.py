"""What a killed child runs. Importing this loads all that `scoter reason` needs, so that children
start at once."""

import contextlib
import os

import httpx2  # noqa: F401
import openai
import openai.resources.chat  # noqa: F401

import scoter.data.datasets
import scoter.experiments
import scoter.reasoning.language.local_server
import scoter.reasoning.writing.batch_files
import scoter.reasoning.writing.engine
import scoter.reasoning.writing.forecast
import scoter.stages.data  # noqa: F401
from scoter.cli.main import main


def run(given: list[str]) -> None:
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.redirect_stdout(nowhere),
    ):
        main(given, standalone_mode=False)
