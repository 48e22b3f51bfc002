"""Lightning without its advice. What our users must know, we say ourselves."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

SILENCED = (
    r".*does not have many workers.*",  # gathering a batch is quicker than sending it between processes
    r".*Checkpoint directory .* exists and is not empty.*",  # refused by us, or a resumed run
    r".*available but not used.*",  # the user chose the accelerator
    r"Be aware that when using `ckpt_path`, callbacks used.*",  # who watches a resumed run may change
    r"Grad strides do not match bucket view strides.*",  # of a [1, d, d] weight, whose layout is the same either way
    r"The number of training batches .* is smaller than the logging interval.*",  # epochs are logged in any case
    r".*isinstance\(treespec, LeafSpec\).* is deprecated.*",  # Lightning's own call of torch
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hold back Lightning's information and the warnings that do not apply to us; others pass."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for message in SILENCED:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
