"""Files of weights, as other programs leave them."""

from __future__ import annotations

from pathlib import Path

import torch


def save_weights(content: object, folder: Path) -> Path:
    """Save tensors, or whatever holds them, as torch does."""
    path = folder / "old.pth"
    torch.save(content, path)
    return path
