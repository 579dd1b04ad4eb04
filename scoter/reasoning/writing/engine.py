"""Runs a `ChainJob` into a `ChainFolder` on this machine: only what is missing, nothing twice.

A shard is written once its last row is there, so memory does not grow with the number of chains.
"""

from collections.abc import Callable, Sequence

from scoter.errors import LanguageModelError
from scoter.protocols import LanguageModel
from scoter.reasoning.language.structured import ask_for_chains
from scoter.reasoning.writing.folder import ChainFolder, ChainRow
from scoter.reasoning.writing.job import ChainJob

Watch = Callable[[str], None]  # called once for each chain, with its outcome


def missing_shards(job: ChainJob, folder: ChainFolder, retry_unanswered: bool = False) -> list[int]:
    """The shards to write; with `retry_unanswered` also those with a row that got no reply."""
    outgrown = folder.outgrown(job.describe())
    return [
        shard
        for shard in range(job.shard_count)
        if not folder.shard(shard).exists()
        or shard in outgrown
        or (retry_unanswered and folder.outcomes(shard)["unanswered"])
    ]


def run_job(
    job: ChainJob,
    folder: ChainFolder,
    model: LanguageModel | None,
    retry_unanswered: bool = False,
    watch: Watch = lambda outcome: None,
) -> dict[str, int]:
    """Write what is missing; how many chains ended how, over all shards.

    Args:
        model: the language model, None for the catalogue reasoner. Unless its replies are recorded
            (`RequestStore.recording`), a killed run loses those of unfinished shards.

    Raises:
        LanguageModelError: no request will be answered any more, or the token budget is spent. The
            shards that were written before stay, and the next run writes only the others.
        ConfigError: the folder holds chains of another job.
    """
    folder.start(job.describe())
    shards = missing_shards(job, folder, retry_unanswered)
    if model is None:
        for shard in shards:
            rows = job.catalog_rows(shard)
            folder.write(shard, rows)
            for row in rows:
                watch(row.outcome)
    else:
        _ask(job, folder, model, shards, watch)
    return folder.finish(job.shard_count)


def check_ended(folder: ChainFolder, ended: dict[str, int], say: Callable[[str], None]) -> None:
    """Say why chains are missing; where all are, that is an error, and the job is not finished."""
    lost, total = ended["rejected"] + ended["unanswered"], sum(ended.values())
    if not lost:
        return
    (reason, count), *_ = folder.reasons().most_common(1)
    line = f"{lost:,} of {total:,} chains could not be written; {count:,} times because {reason}"
    if lost == total:
        folder.reopen()
        raise LanguageModelError(line)
    say(line)


def _ask(
    job: ChainJob, folder: ChainFolder, model: LanguageModel, shards: Sequence[int], watch: Watch
) -> None:
    """Write the shards of chains that a language model is asked for."""
    assert job.writing is not None, "a language model needs a job that says how it is asked"
    places = [place for shard in shards for place in job.places(shard)]
    requests = (job.request(place) for place in places)
    waiting: dict[int, dict[int, ChainRow]] = {}
    for answer in ask_for_chains(model, requests, job.roles, job.writing.retries):
        place = places[answer.index]
        shard = place // job.shard_rows
        rows = waiting.setdefault(shard, {})
        rows[place] = job.answered_row(place, answer)
        watch(rows[place].outcome)
        if len(rows) == len(job.places(shard)):
            folder.write(shard, [rows[number] for number in job.places(shard)])
            del waiting[shard]
