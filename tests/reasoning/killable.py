"""What a killed child runs. Importing this loads all that `scoter reason` needs, so that children start at once."""

import contextlib
import os

import httpx2  # noqa: F401
import openai
import openai.resources.chat  # noqa: F401

import scoter.data.datasets
import scoter.experiments
import scoter.reasoning.batch_files
import scoter.reasoning.chain_engine
import scoter.reasoning.chain_forecast
import scoter.reasoning.local_server
import scoter.stages.data  # noqa: F401
from scoter.cli import main


def run(given: list[str]) -> None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
        main(given, standalone_mode=False)
