"""Memory that is free is given back, whatever lies between."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_PIECE = 100_000  # bytes: small enough for the heap
_SOURCE = f"""
import os
from bncodemod.verify.memory import give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

pieces = [bytes({_PIECE}) + b"." for _ in range(2000)]
del pieces[:-1]  # the last one stays above the others
held = resident()
give_back()
print(held - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to")
def test_free_memory_below_what_is_in_use_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SOURCE], capture_output=True, text=True, env=os.environ, check=True
    )
    assert int(done.stdout) > 1000 * _PIECE
