"""Checks everything that a store holds: artefacts, sentence vectors, replies, folders of chains."""

from collections.abc import Callable

from scoter.errors import ScoterError
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.writing.folder import ChainFolder
from scoter.stages.discovery import REPLIES
from scoter.storage import sentence_vectors
from scoter.storage.store import Store


def verify_store(store: Store) -> tuple[int, list[str]]:
    """The number of artefacts, and one line for each file that is missing, altered or foreign."""
    count, problems = store.verify_all()
    problems += sentence_vectors.damaged_shards(store.root / "sentences")
    replies = (store.root / REPLIES, *sorted(store.root.glob(f"reason/*/{REPLIES}")))
    chains = (path.parent for path in sorted(store.root.glob("reason/*/finished.json")))
    checks: list[Callable[[], object]] = [RequestStore(folder).check for folder in replies]
    for check in [*checks, *(ChainFolder(folder).content_key for folder in chains)]:
        try:
            check()
        except ScoterError as error:
            problems.append(str(error))
    return count, problems
