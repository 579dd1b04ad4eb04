"""`scoter reason`: write chains offline, into a folder that an experiment reads with
`--set chains.source=FOLDER`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from scoter.cli.options import token_limit_option
from scoter.errors import ConfigError, LanguageModelError

_PATH = click.Path(path_type=Path)
_ABOVE_ZERO = click.IntRange(1)

_OPTIONS = (
    click.option(
        "--pattern",
        "pattern_file",
        type=_PATH,
        help="A pattern.json, as `scoter discover` makes [default: plain]",
    ),
    click.option(
        "--language-model",
        default="catalog",
        help="catalog (symbolic; default), local (SmolLM2), or a server's model",
    ),
    click.option(
        "--base-url",
        default="",
        help="The OpenAI-compatible server, such as http://127.0.0.1:8000/v1",
    ),
    click.option("--key-variable", help="The environment variable that holds the server's key"),
    click.option(
        "--out",
        type=_PATH,
        required=True,
        help="The folder of chains; run again to go on where a run ended",
    ),
    click.option(
        "--prefixes",
        default="every",
        help="every (default), or anchors[:K[:M]]: each K items, the first M",
    ),
    click.option(
        "--users",
        type=click.IntRange(0),
        default=0,
        help="A fixed sample of so many users [default: all]",
    ),
    click.option(
        "--limit",
        type=click.IntRange(0),
        default=0,
        help="Only the first so many chains [default: all]",
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option(
        "--shard-rows", type=_ABOVE_ZERO, default=1024, show_default=True, help="Chains in a file"
    ),
    click.option(
        "--write",
        "settings",
        multiple=True,
        metavar="A=B",
        help="How the model is asked: max_tokens=200; repeatable",
    ),
    click.option(
        "--concurrency", type=_ABOVE_ZERO, default=4, show_default=True, help="Calls at once"
    ),
    click.option("--requests-per-minute", type=float, help="Start no more calls than that"),
    click.option(
        "--timeout",
        type=float,
        default=120.0,
        show_default=True,
        help="Seconds until a call is given up",
    ),
    click.option(
        "--attempts",
        type=_ABOVE_ZERO,
        default=6,
        show_default=True,
        help="How often a call is tried",
    ),
    click.option(
        "--first-pause",
        type=float,
        default=0.5,
        help="Seconds before a second attempt; doubles with each",
    ),
    token_limit_option,
    click.option(
        "--token-budget",
        type=_ABOVE_ZERO,
        help="Stop, to be continued, once this run has used so many tokens",
    ),
    click.option(
        "--prices",
        type=float,
        nargs=2,
        metavar="PROMPT COMPLETION",
        help="Of a million tokens each, for the forecast",
    ),
    click.option(
        "--forecast", "forecast_only", is_flag=True, help="Say what it will cost, and stop"
    ),
    click.option("--retry-unanswered", is_flag=True, help="Ask again where no reply came"),
    click.option(
        "--export-batch", type=_PATH, help="Write the pending requests as a batch file, and stop"
    ),
    click.option(
        "--import-batch", type=_PATH, help="Keep the replies of a batch file, and write the chains"
    ),
    click.option(
        "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True
    ),
    click.option(
        "--workers", type=_ABOVE_ZERO, default=2, show_default=True, help="Of the engine ray"
    ),
    click.option("--ray-address", help="A running Ray cluster [default: start one here]"),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="A.B=C",
        help="Change the dataset, as data.max_users=1000",
    ),
    click.option(
        "--store", type=_PATH, help="Folder of artefacts [default: $SCOTER_STORE or artifacts/]"
    ),
    click.option(
        "--data", type=_PATH, help="A prepared folder, or one that holds a folder per dataset"
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="One JSON object on standard output, and nothing else there",
    ),
)


def _options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("dataset")
@_options
def reason(dataset: str, out: Path, as_json: bool, **options: Any) -> None:
    """Write the chains of a dataset's users (or of 'simulated') with a pattern, offline."""
    from scoter.reasoning.language.metering import Prices
    from scoter.reasoning.language.replies import RequestStore
    from scoter.reasoning.writing.engine import missing_shards, run_job
    from scoter.reasoning.writing.folder import REPLIES, ChainFolder
    from scoter.reasoning.writing.forecast import Progress

    job, server = _job(dataset, options), _server(options)
    folder = ChainFolder(out)
    prices = Prices(*options["prices"]) if options["prices"] else None
    if job.writing is None and (options["export_batch"] or options["import_batch"]):
        raise ConfigError(
            "--export-batch and --import-batch are for a language model; name one with "
            "--language-model"
        )
    store = RequestStore(out / REPLIES)
    if options["forecast_only"]:
        shards = [shard for shard in range(job.shard_count) if not folder.shard(shard).exists()]
        _say(f"forecast: {_forecast_line(job, shards, store, prices)}")
        return
    folder.start(job.describe())
    if options["export_batch"]:
        from scoter.reasoning.writing.batch_files import export_batch

        count = export_batch(job, store, options["export_batch"], options["token_limit"])
        _report(as_json, {"exported": count, "file": str(options["export_batch"])})
        return
    retry = options["retry_unanswered"]
    if options["import_batch"]:
        from scoter.reasoning.writing.batch_files import StoredReplies, import_batch

        counts = import_batch(job, store, options["import_batch"])
        _say(f"imported: {counts}")
        ended = run_job(job, folder, StoredReplies(store), retry_unanswered=True)
        _report(
            as_json,
            {"chains": len(job), "outcomes": ended, "import": vars(counts), "out": str(out)},
        )
        return
    shards = missing_shards(job, folder, retry)
    chains = sum(len(job.places(shard)) for shard in shards)
    _say(f"forecast: {_forecast_line(job, shards, store, prices)}")
    if options["engine"] == "ray":
        from scoter.reasoning.writing.ray_engine import run_job_on_ray

        progress = Progress(chains, _say)
        ended = run_job_on_ray(
            job,
            folder,
            None if job.writing is None else server,
            options["workers"],
            options["ray_address"],
            retry,
            progress,
        )
        _check_ended(folder, ended)
        _report(as_json, {"chains": len(job), "outcomes": ended, "out": str(out)})
        return
    if job.writing is None:
        ended = run_job(job, folder, None, retry, Progress(chains, _say))
        _report(as_json, {"chains": len(job), "outcomes": ended, "out": str(out)})
        return
    with server.open() as model:
        model.answered_before = len(store) > 0
        progress = Progress(chains, _say, lambda: model.usage, prices)
        try:
            ended = run_job(job, folder, store.recording(model), retry, progress)
        except LanguageModelError:
            folder.reopen()
            raise
        finally:
            _say(f"used: {model.usage}")
        _check_ended(folder, ended)
        _report(
            as_json,
            {"chains": len(job), "outcomes": ended, "usage": vars(model.usage), "out": str(out)},
        )


def _job(dataset: str, options: dict[str, Any]) -> Any:
    """The job that the options name, on prepared data."""
    from scoter.config import with_overrides
    from scoter.experiments import experiment
    from scoter.reasoning.chains.prefixes import PrefixPolicy
    from scoter.reasoning.chains.table import hand_written_pattern
    from scoter.reasoning.writing.job import ChainJob
    from scoter.seeding import derive_seed
    from scoter.stages.context import Context
    from scoter.stages.data import open_data, prepare
    from scoter.storage.store import Store

    chosen = with_overrides(experiment(dataset, options["data"]), options["overrides"])
    context = Context(chosen, Store(options["store"]), options["seed"], _say)
    data = prepare(context, options["data"])
    _, catalog, split = open_data(data)
    path = options["pattern_file"]
    if path is None:
        pattern = hand_written_pattern(catalog)
        _say("no --pattern: the hand-written one is used")
    else:
        pattern = pattern_of(path)
    return ChainJob(
        split,
        catalog,
        pattern,
        identity=data.key,
        policy=PrefixPolicy.parse(options["prefixes"]),
        writing=_writing(options),
        fold_seed=derive_seed(context.data_seed, "folds"),
        seed=options["seed"],
        users=options["users"],
        limit=options["limit"],
        shard_rows=options["shard_rows"],
    )


def pattern_of(path: Path) -> Any:
    """The pattern in a file that `scoter discover` wrote, or somebody by hand.

    Raises:
        ConfigError: it cannot be read, or is something else.
    """
    from scoter.storage.untrusted import parse_json
    from scoter.types import ReasoningPattern

    try:
        return ReasoningPattern.from_json(parse_json(path.read_bytes())["pattern"]["steps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--pattern {path} cannot be read ({error}); pass a pattern.json of `scoter discover`"
        ) from None


def _writing(options: dict[str, Any]) -> Any:
    """How the language model is asked; None for the catalogue reasoner."""
    from scoter.config import with_overrides
    from scoter.reasoning.chains.requests import WritingConfig, small_model
    from scoter.reasoning.language.local_server import LOCAL_MODEL

    name = options["language_model"]
    if name == "catalog":
        if options["settings"]:
            raise ConfigError(
                "--write says how a language model is asked; the catalogue reasoner has no such "
                "settings"
            )
        return None
    offline = options["export_batch"] or options["import_batch"] or options["forecast_only"]
    if name != "local" and not options["base_url"] and not offline:
        raise ConfigError(
            f"--language-model {name} needs the address of its server: --base-url "
            f"http://HOST:PORT/v1"
        )
    if name == "local" and options["base_url"]:
        raise ConfigError(
            "--language-model local starts a server of its own; leave --base-url out, or name "
            "the server's model"
        )
    chosen = (
        small_model(LOCAL_MODEL, options["seed"])
        if name == "local"
        else WritingConfig(name, seed=options["seed"])
    )
    return with_overrides(chosen, options["settings"])


def _server(options: dict[str, Any]) -> Any:
    from scoter.reasoning.language.server import ServerConfig

    names = (
        "base_url",
        "key_variable",
        "concurrency",
        "requests_per_minute",
        "timeout",
        "attempts",
        "first_pause",
        "token_budget",
        "token_limit",
    )
    return replace(ServerConfig(), **{name: options[name] for name in names})


def _forecast_line(job: Any, shards: list[int], store: Any, prices: Any) -> str:
    from scoter.reasoning.writing.forecast import forecast

    chains = sum(len(job.places(shard)) for shard in shards)
    if job.writing is None:
        return f"{chains:,} chains of the catalogue reasoner, no calls"
    return str(forecast(job, shards, store, prices))


def _check_ended(folder: Any, ended: dict[str, int]) -> None:
    """Say why chains are missing; where all are, that is an error, and the job is not finished."""
    lost = ended["rejected"] + ended["unanswered"]
    if not lost:
        return
    (reason, count), *_ = folder.reasons().most_common(1)
    total = sum(ended.values())
    line = f"{lost:,} of {total:,} chains could not be written; {count:,} times because {reason}"
    if lost == total:
        folder.reopen()
        raise LanguageModelError(line)
    _say(line)


def _report(as_json: bool, found: dict[str, Any]) -> None:
    click.echo(
        json.dumps(found)
        if as_json
        else "\n".join(f"{name}: {value}" for name, value in found.items())
    )


def _say(line: str) -> None:
    click.echo(line, err=True)
