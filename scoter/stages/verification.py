"""Everything that a store holds, hashed again: artefacts, the sentence cache, replies and folders
of chains."""

from scoter.errors import ScoterError
from scoter.reasoning.language.replies import RequestStore
from scoter.reasoning.writing.folder import ChainFolder
from scoter.stages.discovery import REPLIES
from scoter.storage import sentence_vectors as text
from scoter.storage.store import Store


def verify_store(store: Store) -> tuple[int, list[str]]:
    """How many artefacts there are, and one line for each file that is missing, altered, foreign or
    cannot be read."""
    count, problems = store.verify_all()
    problems += text.damaged_shards(store.root / "sentences")
    for folder in (store.root / REPLIES, *sorted(store.root.glob(f"reason/*/{REPLIES}"))):
        try:
            RequestStore(folder).check()
        except ScoterError as error:
            problems.append(str(error))
    for path in sorted(store.root.glob("reason/*/finished.json")):
        try:
            ChainFolder(path.parent).content_key()
        except ScoterError as error:
            problems.append(str(error))
    return count, problems
