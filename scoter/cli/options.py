"""What several commands share: options, threads, and how lines and errors are said."""

import errno
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from scoter.cli.console import escape_what_cannot_be_shown
from scoter.errors import ScoterError

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder of artefacts [default: $SCOTER_STORE or artifacts/]",
)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A prepared folder, or one that holds a folder per dataset",
)
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON object on standard output, and nothing else there",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="A.B=C",
    help="Change one value of the experiment; repeatable",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Processor threads [default: $OMP_NUM_THREADS or all]"
)

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

token_limit_option = click.option(
    "--token-limit",
    type=click.Choice(["max_tokens", "max_completion_tokens"]),
    default="max_tokens",
    show_default=True,
    help="The server's name for the longest reply; newer OpenAI models want the second",
)


class Commands(click.Group):
    """Commands that report a `ScoterError`, or a full or read-only disk, as one line and exit
    status 1.

    Every other exception is a defect and shows itself.
    """

    def main(self, *arguments: Any, **settings: Any) -> Any:
        escape_what_cannot_be_shown()
        return super().main(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ScoterError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno not in _FULL_DISK:
                raise
            place = error.filename or "the output"
            raise click.ClickException(
                f"{place} cannot be written ({error.strerror}); free space there and run again"
            ) from error


def experiment_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (store_option, data_option, json_option, set_option, threads_option):
        command = option(command)

    @wraps(command)
    def wrapper(threads: int | None, **arguments: Any) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        use_threads(threads)
        command(**arguments)

    return wrapper


def use_threads(threads: int | None) -> None:
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # threads that spin while they wait are ruinous on a busy machine
    import torch

    torch.set_num_threads(
        threads or int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1
    )


def interval(row: dict[str, Any]) -> str:
    """A mean with its interval, for a table."""
    return f"{row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"


def say(line: str) -> None:
    """A line for the person who waits; standard output is for results."""
    click.echo(line, err=True)
