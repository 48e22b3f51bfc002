"""PanelTensors: the arrays of an encoded panel as torch has them."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.features.encoded_panel import EncodedPanel

CPU = torch.device("cpu")


class PanelTensors:
    """The arrays of an encoded panel as tensors on one device, and how many of its columns are what.

    On the CPU they are the arrays themselves: nothing is copied, and what is mapped from a file stays there. On any
    other device they are copies.
    """

    def __init__(self, encoded: EncodedPanel, device: torch.device = CPU) -> None:
        inputs = encoded.inputs
        self.device = device
        self.indptr = encoded.indptr
        self.window_scaling = encoded.window_scaling
        self.num_targets = len(inputs.targets)
        self.num_observed = self.num_targets + len(inputs.observed_reals)
        self.num_observed_categories = len(inputs.observed_categories)
        self.reals = _tensor(encoded.reals, device)
        self.reals_present = _tensor(encoded.reals_present, device)
        self.categories = _tensor(encoded.categories, device)
        self.static_reals = _tensor(encoded.static_reals, device)
        self.static_reals_present = _tensor(encoded.static_reals_present, device)
        self.static_categories = _tensor(encoded.static_categories, device)
        self.center = _tensor(encoded.center.astype(np.float32), device)
        self.scale = _tensor(encoded.scale.astype(np.float32), device)
        self.has_position = self.num_observed + len(inputs.known_reals) > self.reals.shape[1]

    def positions(self, lookback: int, horizon: int) -> Tensor | None:
        """Give the relative positions [1, T, 1] of a window's steps; None where the network is not told them."""
        if not self.has_position:
            return None
        steps = torch.arange(lookback + horizon, dtype=torch.float32) - lookback
        return (steps / max(lookback, horizon))[None, :, None].to(self.device)


def _tensor(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Share an array's memory, or copy it to another device; arrays mapped read-only are fine, none is written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)
