"""Read weights from checkpoint files, and write a converted module as a Lightning checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.__version__ import version
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fusecast.errors import ArtifactError
from fusecast.errors.artifact import UnsafeArtifactError
from fusecast.io.atomic import replace_file
from fusecast.training.checkpoints import load_checkpoint
from fusecast.training.resumable_module import ResumableModule

PREFIXES = ("module.", "model.", "network.", "_orig_mod.", "TFTpart2.")
"""What DataParallel, wrappers, our LightningModules, torch.compile and newer NVIDIA code put before names."""

PLACES = ("state_dict", "model_state_dict", "model", "network")
"""Where checkpoints of all kinds keep the tensors, if not at the top."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What an old file holds."""

    path: Path
    tensors: Mapping[str, Tensor]  # by their bare names, in the file's order
    others: tuple[str, ...] = ()  # what stands among the tensors and is none
    parameters: Mapping[str, Any]  # plain values that a checkpoint keeps as its hyper-parameters

    def size(self, name: str, dimension: int = 0) -> int:
        """Give one dimension of a tensor from which a size of the network follows.

        Raises
        ------
        ArtifactError
            When the tensor is missing, or has fewer dimensions.
        """
        tensor = self.tensors.get(name)
        if tensor is None or tensor.ndim <= dimension:
            raise ArtifactError.lacks_tensor(self.path, name)
        return tensor.shape[dimension]

    def rows(self, name: str) -> int:
        """Give the first dimension of a tensor, 0 where there is none of that name."""
        return self.tensors[name].shape[0] if name in self.tensors else 0

    def numbered(self, before: str, after: str = "") -> int:
        """Count the names ``before0after``, ``before1after`` and so on."""
        count = 0
        while f"{before}{count}{after}" in self.tensors:
            count += 1
        return count


def read_weights(path: Path) -> Weights:
    """Read a state dict: ``.safetensors``, or what ``torch.save`` wrote, by itself or within a checkpoint.

    Raises
    ------
    ArtifactError
        When the file is missing or truncated, holds no state dict or anything but tensors and plain values.
    """
    content = _read(path)
    state = _state_of(content)
    if state is None:
        raise ArtifactError.no_weights(path, PLACES)
    tensors: dict[str, Tensor] = {}
    others = []
    for name, value in state.items():
        bare = _bare(str(name))
        if not isinstance(value, Tensor):
            others.append(bare)
        elif bare in tensors:
            raise ArtifactError.same_name_twice(path, bare)
        else:
            tensors[bare] = value
    parameters = content.get("hyper_parameters", {})
    return Weights(
        path=path,
        tensors=tensors,
        others=tuple(others),
        parameters=parameters if isinstance(parameters, Mapping) else {},
    )


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ArtifactError.missing(path, "a file of weights")
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ArtifactError.unreadable(path, str(error)) from None
    try:
        return load_checkpoint(path)
    except UnsafeArtifactError as error:
        raise ArtifactError.export_first(str(error).splitlines()[0]) from None


def _state_of(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Find the state dict: the content itself, or what stands in one of the usual places."""
    candidates: list[Mapping[str, Any]] = [
        content,
        *(content[place] for place in PLACES if isinstance(content.get(place), Mapping)),
    ]
    for candidate in candidates:
        if any(isinstance(value, Tensor) for value in candidate.values()):
            return candidate
    return None


def _bare(name: str) -> str:
    """Take known prefixes off, however they are nested."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return _bare(name.removeprefix(prefix))
    return name


def write_checkpoint(path: Path, module: ResumableModule) -> Path:
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
    with replace_file(path) as temporary:
        torch.save(checkpoint, temporary)
    return path
