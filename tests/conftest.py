"""Small problems are slowed down by threads, the more so on a busy machine: the tests use one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
