"""Runs a `ChainJob` into a `ChainFolder` on this machine: only what is missing, shard by shard,
nothing twice.

A language model's requests flow through all shards without a pause between them; a shard is written
once its last row is there. Rows that wait for their shard are all that is held, so memory does not
grow with the number of chains.
"""

from collections.abc import Callable, Iterable, Sequence

from scoter.reasoning.language.language_model import CompletionRequest, LanguageModel
from scoter.reasoning.language.structured import ask_for_chains
from scoter.reasoning.writing.folder import ChainFolder, ChainRow
from scoter.reasoning.writing.job import ChainJob

Watch = Callable[[str], None]
"""Called once for each chain, with its outcome."""


def missing_shards(job: ChainJob, folder: ChainFolder, retry_unanswered: bool = False) -> list[int]:
    """The shards that are still to be written; with `retry_unanswered` also those that hold a row
    without a reply."""
    return [
        shard
        for shard in range(job.shard_count)
        if not folder.shard(shard).exists()
        or (retry_unanswered and folder.outcomes(shard)["unanswered"])
    ]


def run_job(
    job: ChainJob,
    folder: ChainFolder,
    model: LanguageModel | None,
    retry_unanswered: bool = False,
    watch: Watch = lambda outcome: None,
) -> dict[str, int]:
    """Write what is missing, and return how many chains ended how (over all shards, whenever they
    were written).

    Args:
        model: the language model; None where the job is the catalogue reasoner's. Give it a memory
            (`RequestStore.recording`), or a killed run loses the replies of the shards that it had
            not finished.

    Raises:
        BudgetError: the token budget is spent. What is written stays, and a run with more goes on
            from there.
        LanguageModelError, StoreError: as the model and its store do; the same holds.
    """
    folder.start(job.describe())
    write_shards(job, folder, model, missing_shards(job, folder, retry_unanswered), watch)
    return folder.finish(job.shard_count)


def write_shards(
    job: ChainJob,
    folder: ChainFolder,
    model: LanguageModel | None,
    shards: Sequence[int],
    watch: Watch = lambda outcome: None,
) -> None:
    """Write these shards of a job that was started."""
    if model is None:
        for shard in shards:
            rows = job.catalog_rows(shard)
            folder.write(shard, rows)
            for row in rows:
                watch(row.outcome)
        return
    writing = job.writing
    assert writing is not None, (
        "a language model writes the chains of a job that says how it is asked"
    )
    places = [place for shard in shards for place in job.places(shard)]
    waiting: dict[int, dict[int, ChainRow]] = {}
    for answer in ask_for_chains(model, _requests(job, places), job.roles, writing.retries):
        place = places[answer.index]
        shard = place // job.shard_rows
        row = job.answered_row(place, answer, _without_address(answer.error, model))
        rows = waiting.setdefault(shard, {})
        rows[place] = row
        watch(row.outcome)
        if len(rows) == len(job.places(shard)):
            folder.write(shard, [rows[one] for one in job.places(shard)])
            del waiting[shard]


def _requests(job: ChainJob, places: Iterable[int]) -> Iterable[CompletionRequest]:
    return (job.request(place) for place in places)


def _without_address(error: str, model: LanguageModel) -> str:
    """An error's text as it would read at any other address, since where a server stands decides no
    chain."""
    address = getattr(getattr(model, "model", model), "base_url", "")
    return error.replace(address, "the server") if address else error
