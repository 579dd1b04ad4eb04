"""Named arrays as safetensors files."""

from pathlib import Path

import numpy as np

from scoter.storage.store import as_new_file


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Named arrays as one safetensors file."""
    from safetensors.numpy import save_file

    with as_new_file(path):
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The inverse of `save_arrays`."""
    from safetensors.numpy import load_file

    return load_file(path)
