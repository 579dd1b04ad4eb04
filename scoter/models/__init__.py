"""Recommenders: popularity, SASRec, TIGER."""

import os

# Batches come in many shapes, and oneDNN keeps 1,024 compiled kernels unless told otherwise: after three times forty
# batches of Beauty that is 2.1 GiB instead of 1.3, and it goes on growing. Read when the first kernel is compiled.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
