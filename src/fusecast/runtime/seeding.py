"""Random numbers of a training step, as a function of its seed, number and rank."""

from __future__ import annotations

import numpy as np
import torch


def seed_step(seed: int, step: int, rank: int, device: torch.device | None = None) -> None:
    """Seed torch for one step of one process; with a device, only what is drawn on it, and on the CPU.

    Dropout then depends on (seed, step, rank) and on nothing that happened before: a resumed run needs no random
    state to be saved, on any device and with any number of processes.
    """
    word = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]
    if device is not None and device.type == "cpu":
        torch.default_generator.manual_seed(int(word) >> 1)  # torch.manual_seed seeds every kind of GPU too: 0.6 ms
    else:
        torch.manual_seed(int(word) >> 1)
