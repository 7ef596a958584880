"""What all tests share: one thread each where several processes share the cores."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes with two threads each wait for one another more than they compute.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
