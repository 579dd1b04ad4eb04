"""The sentence encoder of a run."""

from collections.abc import Callable

import numpy as np

from scoter.stages.context import Context


def sentence_encoder(context: Context) -> Callable[[list[str]], np.ndarray]:
    """Sentences to vectors, cached by content in the store."""
    from scoter import text

    return lambda sentences: text.encode(sentences, context.experiment.text, context.store.root / "sentences")
