"""What the bounds accept where a number or many will do."""

from collections.abc import Sequence

import numpy as np

Numbers = float | int | np.generic | np.ndarray | Sequence
