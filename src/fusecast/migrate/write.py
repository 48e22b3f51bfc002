"""Write a module as a checkpoint of Lightning that needs nothing but itself to be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.__version__ import version

from fusecast.training.atomic import replacing
from fusecast.training.steady import SteadyModule


def write_checkpoint(path: Path, module: SteadyModule) -> Path:
    """Write what ``load_from_checkpoint`` of the module's class loads: weights and sizes, no state of training."""
    checkpoint: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": version,
        "state_dict": module.state_dict(),
        "loops": {},
        "hyper_parameters": dict(module.hparams),
        "hparams_name": "kwargs",
    }
    module.on_save_checkpoint(checkpoint)
    with replacing(path) as temporary:
        torch.save(checkpoint, temporary)
    return path
