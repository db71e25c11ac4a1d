"""What a run has the C library do with memory."""

import platform
import subprocess
import sys

import pytest

PAGES_FETCHED = """
import resource
import numpy as np
from lockstep.threads import threads

def step():
    return [np.ones(10**6) for _ in range(4)]

def fetched():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with threads():
    step()
    before = fetched()
    for _ in range(5):
        step()
print(fetched() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_the_pages_of_large_arrays_are_not_fetched_anew_each_step():
    done = subprocess.run([sys.executable, "-c", PAGES_FETCHED], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50  # of 39 000 in five steps of 32 MB
