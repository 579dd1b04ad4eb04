"""The sentence encoder of a run."""

from collections.abc import Callable

import numpy as np

from scoter.stages.context import Context


def sentence_encoder(context: Context, keep: bool = True) -> Callable[[list[str]], np.ndarray]:
    """Sentences to vectors, cached by content in the store; `keep` is as for `text.encode`."""
    from scoter.storage import sentence_vectors as text

    settings, cache = context.experiment.text, context.store.root / "sentences"
    return lambda sentences: text.encode(sentences, settings, cache, keep)
