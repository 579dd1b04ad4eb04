"""Arrays of an `.npz` file from outside: nothing is executed, and size is bounded."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from theory.errors import PremiseError

EXPANSION, SMALL = 200, 256 << 20
"""A packed file may grow by this factor when it is unpacked, or to so many bytes."""


def read_arrays(
    path: Path | str, needed: Sequence[str], known: Sequence[str]
) -> dict[str, np.ndarray]:
    """The `known` arrays of a file that numpy.savez wrote, the `needed` ones among them.

    Any other file is a PremiseError, as is one that unpacks to `EXPANSION` times its size or holds
    other arrays, which may be misspelt.

    >>> try:
    ...     read_arrays("absent.npz", ("x",), ("x",))
    ... except PremiseError as error:
    ...     print(error)  # doctest: +ELLIPSIS
    absent.npz: cannot be read ([Errno 2] No such file or directory: 'absent.npz'); write it ...
    """
    try:
        with open(path, "rb") as file:
            packed = zipfile.is_zipfile(file)
            members = zipfile.ZipFile(file).infolist() if packed else []
            unpacked = sum(member.file_size for member in members)
        if not packed and str(path).endswith(".npy"):
            raise PremiseError(f"{path}: holds one array; write x and y by numpy.savez")
        if unpacked > max(SMALL, EXPANSION * Path(path).stat().st_size):
            size = f"unpacks to {unpacked:,} bytes, over {EXPANSION} times its size"
            raise PremiseError(f"{path}: {size}; write it by numpy.savez")
        # A file of ours is closed whatever numpy makes of it.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            missing = sorted(set(needed) - set(arrays))
            if missing:
                raise PremiseError(f"{path}: lacks the arrays {missing}; write it by numpy.savez")
            unread = sorted(set(arrays) - set(known))
            if unread:
                remedy = f"rename them, or leave them out; what is read: {sorted(known)}"
                raise PremiseError(f"{path}: the arrays {unread} would not be read: {remedy}")
            return {name: arrays[name] for name in known if name in arrays}
    except PremiseError:
        raise
    except Exception as error:  # a damaged file can raise nearly every exception
        raise PremiseError(f"{path}: cannot be read ({error}); write it by numpy.savez") from None
