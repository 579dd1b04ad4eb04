"""Shapes and types are checked in every test run: jaxtyping and beartype wrap every function of
scoter."""

import os

# Workers inherit what the process that starts them sets: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # threads that spin cost minutes where processors are shared
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from jaxtyping import install_import_hook

install_import_hook("scoter", "beartype.beartype")
