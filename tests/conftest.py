"""Small problems are slowed down by threads, the more so on a busy machine: the tests use one."""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_collection_finish():
    """What has been imported stays: the garbage collector need not look through it again."""
    gc.freeze()
