"""What commands share: the group, options made from dataclasses, threads, tables and messages."""

import errno
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from scoter.cli.console import escape_what_cannot_be_shown
from scoter.errors import ScoterError
from scoter.progress import on_stderr

if TYPE_CHECKING:  # at run time these bring numpy along, and help would be slow
    from scoter.config import Experiment
    from scoter.reasoning.language.registry import ModelChoice
    from scoter.stages.context import Context
    from scoter.stages.finished import FinishedRun
    from scoter.storage.store import Artefact, Store

Options = TypeVar("Options")  # a dataclass of options


class NamedPath(click.Path):
    """A path, which an empty text is not."""

    def convert(self, value, param, ctx):
        return super().convert(value, param, ctx) if value else self.fail("no path", param, ctx)


PATH = NamedPath(path_type=Path)
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def option(text: str, default: object = None, **more: object) -> Any:
    """A field of a dataclass of options: its help, and whatever else its click option needs."""
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True)
class StoreOptions:
    """The options of a command that reads finished runs."""

    store: Path | None = option("Folder of artefacts [default: $SCOTER_STORE or artifacts/]")
    as_json: bool = option("Print JSON on standard output, and nothing else", False, flag="--json")

    def open_store(self) -> "Store":
        from scoter.storage.store import Store

        return Store(self.store)

    def find_run(self, name: str) -> "FinishedRun":
        """The finished run of that name, start of its key, or `latest`."""
        from scoter.stages.finished import find_run

        return find_run(self.open_store(), name)


@dataclass(frozen=True)
class ExperimentOptions(StoreOptions):
    """The options of a command that works on an experiment."""

    seed: int = option("Of everything random", 0, least=0)
    data: Path | None = option("A prepared folder, or one that holds a folder per dataset")
    overrides: tuple[str, ...] = option(
        "Change a value that `scoter config` shows; repeatable", (), flag="--set", metavar="A.B=C"
    )

    def named(self, name: str) -> "Experiment":
        """The experiment of that name, or of a dataset, with the values that `--set` gives."""
        from scoter.experiments import experiment

        return self.changed(experiment(name, self.data))

    def changed(self, experiment: "Experiment") -> "Experiment":
        """The experiment with the values that `--set` gives."""
        from scoter.config import with_overrides

        return with_overrides(experiment, self.overrides)

    def prepared(self, experiment: "Experiment") -> "tuple[Context, Artefact]":
        """What stages share, and the prepared data of an experiment."""
        from scoter.stages.context import Context
        from scoter.stages.data import prepare

        context = Context(experiment, self.open_store(), self.seed, say)
        return context, prepare(context, self.data)


@dataclass(frozen=True)
class TrainingOptions(ExperimentOptions):
    """The options of a command that trains."""

    threads: int | None = option("Processor threads [default: $OMP_NUM_THREADS or all]")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else")


class Finite(click.FloatRange):
    """A number in a range, which infinity and NaN are not."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is no number", param, ctx)


class Commands(click.Group):
    """Commands that report a `ScoterError`, or a full disk, as one line and exit status 1.

    Every other exception is a defect and shows itself.
    """

    def main(self, *arguments, **settings):
        escape_what_cannot_be_shown()
        return super().main(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ScoterError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno not in _FULL_DISK:
                raise
            line = f"{error.filename or 'the output'} cannot be written ({error.strerror})"
            raise click.ClickException(f"{line}; free space there and run again") from error


def use_threads(threads: int | None) -> None:
    """Have torch use that many threads; by default `$OMP_NUM_THREADS`, or every processor."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait are ruinous on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    named = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # levels have commas
    chosen_here = threads or (int(named) if named.isdecimal() else 0)
    torch.set_num_threads(chosen_here or os.cpu_count() or 1)


def takes(kind: type[Options]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one value `options` of the dataclass `kind`, with an option for each field."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def wrapper(**given: object) -> None:
            options = chosen(kind, given)
            names = {spec.name for spec in _fields(kind)}
            command(options=options, **{key: given[key] for key in given.keys() - names})

        for names, about in reversed(_options(kind)):
            wrapper = click.option(*names, **about)(wrapper)
        return wrapper

    return decorate


LANGUAGE_MODELS = "catalog (symbolic), local (SmolLM2), a server's model, or a plug-in's NAME:REST"


class ServerCommand(click.Command):
    """A command with the options of a language model's server: the fields of `ServerConfig`.

    The class is loaded when the command is used, so that the list of commands is instant.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from scoter.reasoning.language.server import ServerConfig

        server = [click.Option(names, **about) for names, about in _options(ServerConfig)]
        return [*super().get_params(ctx), *server]


def named_model(
    text: str, server: Mapping[str, object], offline: bool = False
) -> "ModelChoice | None":
    """The language model that `--language-model` names, with the options of its server."""
    from scoter.reasoning.language.registry import choose_language_model
    from scoter.reasoning.language.server import ServerConfig

    return choose_language_model(text, chosen(ServerConfig, server), offline=offline)


def _fields(kind: type) -> "tuple[Field[object], ...]":
    return fields(kind)


def chosen(kind: type[Options], given: Mapping[str, object]) -> Options:
    """The value of `kind` whose fields stand among the options that a command was given."""
    return kind(**{spec.name: given[spec.name] for spec in _fields(kind) if spec.name in given})


def _options(kind: type) -> list[tuple[list[str], dict]]:
    """The flags and settings of one click option for each field whose metadata has `help`.

    Types and defaults are the field's: whole numbers start at `least` (1), a `Literal` is a choice,
    a bool a flag, and `tuple[str, ...]` may be repeated.
    """
    hints, made = get_type_hints(kind), []
    bases = filter(is_dataclass, kind.__bases__)
    inherited = {spec.name for base in bases for spec in fields(base)}
    for spec in sorted(_fields(kind), key=lambda spec: spec.name in inherited):
        if "help" not in spec.metadata:
            continue
        about = dict(spec.metadata)
        flags = about.pop("flag", "--" + spec.name.replace("_", "-"))
        names = [*(flags if isinstance(flags, tuple) else [flags]), spec.name]
        about = _kind(hints[spec.name], about.pop("least", 1)) | about
        if spec.default is not None:
            shown = "is_flag" not in about and spec.default not in ("", (), 0)
            about |= {"default": spec.default, "show_default": shown}
        made.append((names, about))
    return made


def _kind(hint: object, least: int) -> dict[str, object]:
    parts = get_args(hint)
    if NoneType in parts:
        return _kind(next(part for part in parts if part is not NoneType), least)
    if get_origin(hint) is Literal:
        return {"type": click.Choice(parts)}
    if hint is bool:
        return {"is_flag": True}
    if parts:  # tuple[str, ...] or tuple[float, float]
        return {
            **_kind(parts[0], least),
            **({"multiple": True} if ... in parts else {"nargs": len(parts)}),
        }
    types = {int: click.IntRange(least), float: Finite(min=0), Path: PATH}
    return {"type": types.get(hint, hint)}


def show_rows(rows: Sequence[Mapping[str, object]], as_json: bool, empty: str = "") -> None:
    """Print rows as JSON, or as a table; `empty` is printed where there is no row to show."""
    from scoter.report.table import Table

    if as_json:
        click.echo(json.dumps(rows))
    else:
        click.echo(Table.of(rows).text() if rows else empty)


def show_values(values: Mapping[str, object], as_json: bool) -> None:
    """Print named values as JSON, or a line each."""
    lines = (f"{name}: {value}" for name, value in values.items())
    click.echo(json.dumps(values) if as_json else "\n".join(lines))


def interval(row: Mapping[str, object]) -> str:
    """A mean with its interval, for a table."""
    return f"{row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"


def say(line: str) -> None:
    """A line for whoever waits; standard output is for results."""
    on_stderr(line)
