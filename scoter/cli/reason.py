"""`scoter reason`: write chains offline, into a folder that experiments read as `chains.source`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from scoter.cli import options as cli
from scoter.cli.options import option, say
from scoter.errors import ConfigError, DataError, LanguageModelError

if TYPE_CHECKING:  # at run time these bring numpy along, and help would be slow
    from scoter.reasoning.chains.requests import WritingConfig
    from scoter.reasoning.language.registry import ModelChoice
    from scoter.reasoning.language.replies import RequestStore
    from scoter.reasoning.writing.folder import ChainFolder
    from scoter.reasoning.writing.job import ChainJob
    from scoter.types import ReasoningPattern


@dataclass(frozen=True)
class ReasonOptions(cli.ExperimentOptions):
    """Which chains `scoter reason` writes, where to, and how."""

    out: Path = option("The folder of chains; run again to continue", required=True)
    pattern: Path | None = option("A pattern.json of `scoter discover` [default: hand-written]")
    language_model: str = option(cli.LANGUAGE_MODELS, "catalog")
    by: Literal["user", "item"] = option(
        "Chains of users' prefixes, or of items, the most used first", "user"
    )
    prefixes: str = option("every, or anchors[:K[:M]]: each K items, the first M", "every")
    users: int = option("A fixed sample of so many users [default: all]", 0, least=0)
    limit: int = option("Only the first so many chains [default: all]", 0, least=0)
    shard_rows: int = option("Chains in a file", 1024)
    write: tuple[str, ...] = option("How the model is asked; repeatable", (), metavar="A=B")
    replies: Path | None = option("Where replies are kept, for several jobs [default: OUT/replies]")
    prices: tuple[float, float] | None = option("Per million tokens", metavar="PROMPT COMPLETION")
    forecast: bool = option("Only say what it will cost", False)
    retry_unanswered: bool = option("Ask again where no reply came", False)
    export_batch: Path | None = option("Only write the pending requests as this batch file")
    import_batch: Path | None = option("Read replies from this batch file, and write the chains")
    engine: Literal["local", "ray"] = option("Who asks: this process, or a Ray cluster", "local")
    workers: int = option("Ray workers", 2)
    ray_address: str | None = option("A running Ray cluster [default: start one here]")


@click.command(cls=cli.ServerCommand)
@click.argument("dataset")
@cli.takes(ReasonOptions)
def reason(dataset: str, options: ReasonOptions, **server: object) -> None:
    """Write the chains of a dataset's users (or of 'simulated') with a pattern, offline."""
    cli.show_values(write(dataset, options, server), options.as_json)


def write(dataset: str, options: ReasonOptions, server: dict[str, object]) -> dict[str, object]:
    """Write the chains that the options name; what became of them."""
    offline = bool(options.forecast or options.export_batch or options.import_batch)
    choice = cli.named_model(options.language_model, server, offline)
    return write_with(dataset, options, choice)


def write_with(
    dataset: str, options: ReasonOptions, choice: "ModelChoice | None"
) -> dict[str, object]:
    """The same with a model that was chosen, and perhaps opened, already."""
    from scoter.reasoning.language.replies import RequestStore
    from scoter.reasoning.writing.engine import missing_shards
    from scoter.reasoning.writing.folder import REPLIES, ChainFolder

    if options.export_batch is not None and options.import_batch is not None:
        raise ConfigError("--export-batch and --import-batch are two steps; give one of them")
    job = _job(dataset, options, _writing(options, choice))
    folder = ChainFolder(options.out)
    replies = RequestStore(options.replies or options.out / REPLIES)
    if options.forecast:
        said = _forecast(job, missing_shards(job, folder), replies, options)
        say(f"forecast: {said}")
        return {"forecast": said}
    with folder.alone():
        folder.start(job.describe())
        if options.export_batch is not None and choice is not None:
            from scoter.reasoning.writing.batch_files import export_batch

            count = export_batch(job, replies, options.export_batch, choice.server)
            return {"exported": count, "file": str(options.export_batch)}
        if options.import_batch is not None:
            outcome = _imported(job, folder, replies, options.import_batch)
        else:
            shards = missing_shards(job, folder, options.retry_unanswered)
            say(f"forecast: {_forecast(job, shards, replies, options)}")
            chains = sum(len(job.places(shard)) for shard in shards)
            outcome = _written(job, folder, replies, choice, options, chains)
    return {"chains": len(job), **outcome, "out": str(options.out)}


def _imported(
    job: "ChainJob", folder: "ChainFolder", replies: "RequestStore", path: Path
) -> dict[str, object]:
    from scoter.reasoning.writing.batch_files import StoredReplies, import_batch
    from scoter.reasoning.writing.engine import check_ended, run_job

    counts = import_batch(job, replies, path)
    say(f"imported: {counts}")
    ended = run_job(job, folder, StoredReplies(replies), retry_unanswered=True)
    check_ended(folder, ended, say)
    return {"outcomes": ended, "import": vars(counts)}


def _written(
    job: "ChainJob",
    folder: "ChainFolder",
    replies: "RequestStore",
    choice: "ModelChoice | None",
    options: ReasonOptions,
    chains: int,
) -> dict[str, object]:
    from scoter.reasoning.writing.engine import check_ended, run_job
    from scoter.reasoning.writing.forecast import Progress

    retry = options.retry_unanswered
    if options.engine == "ray":
        from scoter.reasoning.writing.batch_files import StoredReplies
        from scoter.reasoning.writing.ray_engine import answer_on_ray

        answer_on_ray(job, replies, choice, options.workers, options.ray_address)
        ended = run_job(job, folder, StoredReplies(replies), True, Progress(chains, say))
        check_ended(folder, ended, say)
        return {"outcomes": ended}
    if choice is None:
        return {"outcomes": run_job(job, folder, None, retry, Progress(chains, say))}
    with choice.recording(replies) as model:
        progress = Progress(chains, say, lambda: model.usage, options.prices)
        try:
            ended = run_job(job, folder, model, retry, progress)
        except LanguageModelError:
            folder.reopen()
            raise
        finally:
            say(f"used: {model.usage}")
        check_ended(folder, ended, say)
        return {"outcomes": ended, "usage": vars(model.usage)}


def _job(dataset: str, options: ReasonOptions, writing: "WritingConfig | None") -> "ChainJob":
    """The job that the options name, on prepared data."""
    from scoter.reasoning.chains.prefixes import PrefixPolicy
    from scoter.reasoning.chains.table import ITEM_PATTERN, hand_written_pattern
    from scoter.reasoning.writing.job import ChainJob
    from scoter.recommenders.network import text_vectors
    from scoter.seeding import derive_seed
    from scoter.stages.context import sentence_encoder
    from scoter.stages.data import open_data

    context, data = options.prepared(options.named(dataset))
    _, catalog, split = open_data(data)
    if options.pattern is not None:
        pattern = pattern_of(options.pattern)
    else:
        pattern = ITEM_PATTERN if options.by == "item" else hand_written_pattern(catalog)
        steps = ", ".join(step.label() for step in pattern.steps)
        say(f"no --pattern: a hand-written one is used ({steps})")
    return ChainJob(
        split,
        catalog,
        pattern,
        identity=data.key,
        policy=PrefixPolicy.parse(options.prefixes),
        writing=writing,
        fold_seed=derive_seed(context.data_seed, "folds"),
        seed=options.seed,
        users=options.users,
        limit=options.limit,
        shard_rows=options.shard_rows,
        by=options.by,
        texts=text_vectors(catalog, context.experiment.text, sentence_encoder(context)),
    )


def pattern_of(path: Path) -> "ReasoningPattern":
    """The pattern in a file that `scoter discover` wrote, or somebody by hand."""
    from scoter.reasoning.discovery.report import pattern_from_json

    try:
        return pattern_from_json(path.read_bytes())
    except (OSError, DataError) as error:
        remedy = "pass a pattern.json of `scoter discover`"
        raise ConfigError(f"--pattern {path} cannot be read ({error}); {remedy}") from None


def _writing(options: ReasonOptions, choice: "ModelChoice | None") -> "WritingConfig | None":
    """How the language model is asked; None for the catalogue reasoner."""
    from scoter.config import with_overrides
    from scoter.reasoning.chains.requests import WritingConfig, small_model

    if choice is None:
        model_only = ("write", "export_batch", "import_batch")
        given = ["--" + name.replace("_", "-") for name in model_only if getattr(options, name)]
        if given:
            raise ConfigError(f"{given[0]} is for a language model; name one with --language-model")
        return None
    name, seed = choice.name, options.seed
    plain = small_model(name, seed) if choice.small else WritingConfig(name, seed=seed)
    return with_overrides(plain, options.write, "--write")


def _forecast(
    job: "ChainJob", shards: list[int], replies: "RequestStore", options: ReasonOptions
) -> str:
    from scoter.reasoning.writing.forecast import forecast

    if job.writing is None:
        chains = sum(len(job.places(shard)) for shard in shards)
        return f"{chains:,} chains of the catalogue reasoner, no calls"
    return str(forecast(job, shards, replies, options.prices))
