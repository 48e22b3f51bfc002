"""Which process of a run this is. Loads no torch."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this process writes files and talks: the first, or the only one.

    True before a run has other processes too, in the process that will start them.
    """
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
