"""A value with its Monte-Carlo error; the error of a closed form or of an enumeration is 0."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Measured:
    """A mean and its standard error.

    >>> Measured(1.0)
    Measured(value=1.0, standard_error=0.0)
    """

    value: float
    standard_error: float = 0.0

    @classmethod
    def mean(cls, terms: np.ndarray) -> "Measured":
        """The mean of independent terms."""
        return cls(float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(len(terms))))


def ranks_of(posteriors: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Rank from 1 of each chosen column in its row; a tie counts half.

    >>> ranks_of(np.array([[0.2, 0.5, 0.3]]), np.array([2])).tolist()
    [2.0]
    """
    own = np.take_along_axis(posteriors, chosen[:, None], axis=1)
    return 1 + (posteriors > own).sum(1) + ((posteriors == own).sum(1) - 1) / 2
