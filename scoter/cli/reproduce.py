"""`scoter reproduce`: a language model's pattern and chains, and what they add to TIGER."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from scoter.cli import options as cli
from scoter.cli.options import option, say
from scoter.cli.reason import ReasonOptions, write_with
from scoter.cli.runs import print_run, write_run_report
from scoter.errors import ConfigError

if TYPE_CHECKING:  # at run time these bring numpy along, and help would be slow
    from scoter.config import Experiment
    from scoter.reasoning.language.registry import ModelChoice
    from scoter.stages.finished import FinishedRun

ARMS = "tiger,tiger-meanpool,control-other-user,scoter"


@dataclass(frozen=True)
class ReproduceOptions(cli.TrainingOptions):
    """Who reasons, about what, what it may cost, and which arms are compared."""

    out: Path = option("Pattern, chains and report; run again to continue", required=True)
    language_model: str = option(
        "local (SmolLM2), local:FILE.gguf, a server's model, or a plug-in's NAME:REST",
        required=True,
    )
    pattern: Path | None = option("A pattern.json; without one, the model's is discovered first")
    by: Literal["item", "user"] = option(
        "Chains of items, the most used first, or of users", "item"
    )
    prefixes: str = option("Of users: every, or anchors[:K[:M]]", "every")
    users: int = option("Of users: a fixed sample of so many [default: all]", 0, least=0)
    limit: int = option("Only the first so many chains [default: all]", 0, least=0)
    write: tuple[str, ...] = option("How the model is asked; repeatable", (), metavar="A=B")
    prices: tuple[float, float] | None = option("Per million tokens", metavar="PROMPT COMPLETION")
    forecast: bool = option("Only say what it will cost", False)
    methods: str = option("The arms of the table", ARMS, metavar="A,B")
    device: Literal["cpu", "cuda"] = option("Where models are trained", "cpu")

    def arms(self, dataset: str) -> "Experiment":
        """The arms of the table, with the chains of this folder."""
        from scoter.experiments import with_methods

        arms = with_methods(self.named(dataset), [name.strip() for name in self.methods.split(",")])
        source = str((self.out / "chains").resolve())
        chains = replace(arms.chains, source=source)
        return replace(arms, pattern=(), chains=chains, note=arms.note.partition(";")[0])

    def sized(self, dataset: str, model: "ModelChoice") -> "Experiment":
        """The experiment in which the model's pattern is discovered."""
        from scoter.experiments import experiment
        from scoter.stages.discovery import sized_for

        return self.changed(sized_for(experiment(dataset, self.data), model))

    def writing(self, pattern: Path | None) -> ReasonOptions:
        given = {**vars(self), "out": self.out / "chains", "pattern": pattern}
        given["retry_unanswered"] = True
        return cli.chosen(ReasonOptions, given)


@click.command(cls=cli.ServerCommand)
@click.argument("dataset")
@cli.takes(ReproduceOptions)
def reproduce(dataset: str, options: ReproduceOptions, **server: object) -> None:
    """Discover with a language model, write its chains, train on them, and print the table.

    Run it again to continue: replies, chains and trainings are kept. Calls and tokens are forecast
    before the first call, and --token-budget holds for all of them together.
    """
    cli.use_threads(options.threads)
    choice = cli.named_model(options.language_model, server, options.forecast)
    if choice is None:
        remedy = f"`scoter run {dataset}` reproduces with the catalogue reasoner"
        raise ConfigError(f"--language-model {options.language_model} is no model; {remedy}")
    arms = options.arms(dataset)
    _say_forecast(dataset, options, choice)
    if options.forecast:
        return
    with choice.kept_open() as opened:
        pattern = options.pattern or _discover(dataset, options, opened)
        written = write_with(dataset, options.writing(pattern), opened)
    run = _train(arms, options)
    told = {"language model": choice.name, "pattern": str(pattern), **written, "run": run.name}
    (options.out / "reproduce.json").write_text(json.dumps(told, indent=1))
    print_run(run, options.as_json)
    if not options.as_json:
        click.echo("\n" + "\n".join(f"{name}: {value}" for name, value in told.items()))


def _say_forecast(dataset: str, options: ReproduceOptions, choice: "ModelChoice") -> None:
    """What is asked to find a pattern, and what to write chains with it."""
    from scoter.reasoning.discovery.with_model import planned_chains

    known = options.out / "pattern.json"  # where the model's was discovered already
    pattern = options.pattern or (known if known.exists() else None)
    if pattern is None:
        config = options.sized(dataset, choice).discover
        say(f"to discover a pattern: {planned_chains(config):,} chains, less what is in the store")
        say("to write chains with it, counted with a pattern that stands for it:")
    ahead = replace(options.writing(pattern), forecast=True)
    write_with(dataset, ahead, choice)


def _discover(dataset: str, options: ReproduceOptions, model: "ModelChoice") -> Path:
    """The model's pattern, copied beside its chains."""
    from scoter.stages.discovery import discover_pattern

    mined = discover_pattern(*options.prepared(options.sized(dataset, model)), model)
    found = json.loads(mined.file("pattern.json").read_bytes())["pattern"]
    if not found["recall"]["mean"]:
        say("discover: no chain of fresh users named its target, so the pattern is only a habit")
    options.out.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(mined.file("pattern.json"), options.out))


def _train(arms: "Experiment", options: ReproduceOptions) -> "FinishedRun":
    from scoter import pipeline
    from scoter.stages.finished import FinishedRun

    store = options.open_store()
    where = {"store": store, "data_dir": options.data, "device": options.device}
    run = FinishedRun(store, pipeline.run(arms, seed=options.seed, say=say, **where))
    write_run_report(run, options.out / "report.html")
    return run
