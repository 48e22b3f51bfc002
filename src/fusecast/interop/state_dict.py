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
from fusecast.inference.model_bundle import read_shapes
from fusecast.io.atomic import replace_file
from fusecast.training.checkpoints import load_checkpoint
from fusecast.training.resumable_module import ResumableModule, remove_prefixes

STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "network")
"""Keys of checkpoints of all kinds under which the tensors are, if not at the top level."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The content of an old file."""

    path: Path
    tensors: Mapping[str, Tensor]  # by their names without prefixes, in the order of the file
    others: tuple[str, ...] = ()  # names among them whose values are no tensors
    parameters: Mapping[str, Any]  # hyper-parameters of a checkpoint, as plain values

    def __repr__(self) -> str:
        return f"Weights(path={str(self.path)!r}, tensors={len(self.tensors)})"

    def size(self, name: str, dimension: int = 0) -> int:
        """Return a dimension from which a size of the network follows; raise an ArtifactError where it is missing."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.ndim <= dimension:
            raise ArtifactError.lacks_tensor(self.path, name)
        return tensor.shape[dimension]

    def rows(self, name: str) -> int:
        """Return the first dimension of a tensor, 0 where there is none of that name."""
        return self.tensors[name].shape[0] if name in self.tensors else 0

    def count_numbered(self, before: str, after: str = "") -> int:
        """Count the names ``before0after``, ``before1after`` and so on."""
        count = 0
        while f"{before}{count}{after}" in self.tensors:
            count += 1
        return count


def read_weights(path: Path) -> Weights:
    """Read a state dict: ``.safetensors``, or what ``torch.save`` wrote, by itself or within a checkpoint.

    Raises an ArtifactError where it is missing or truncated, or holds no tensors or more than tensors and plain values.
    """
    content = _read(path)
    inside = [content[key] for key in STATE_DICT_KEYS if isinstance(content.get(key), Mapping)]
    candidates = (state for state in (content, *inside) if any(isinstance(value, Tensor) for value in state.values()))
    state = next(candidates, None)
    if state is None:
        raise ArtifactError.no_weights(path, STATE_DICT_KEYS)
    tensors: dict[str, Tensor] = {}
    others = []
    for full_name, value in state.items():
        name = remove_prefixes(str(full_name))
        if not isinstance(value, Tensor):
            others.append(name)
        elif name in tensors:
            raise ArtifactError.same_name_twice(path, name)
        else:
            tensors[name] = value
    parameters = content.get("hyper_parameters", {})
    parameters = parameters if isinstance(parameters, Mapping) else {}
    return Weights(path=path, tensors=tensors, others=tuple(others), parameters=parameters)


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        if not path.exists():
            raise ArtifactError.missing(path, "a file of weights")
        read_shapes(path)  # a damaged header is refused before any memory is taken for what it states
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ArtifactError.unreadable(path, str(error)) from None
    try:
        return load_checkpoint(path)
    except UnsafeArtifactError as error:
        raise ArtifactError.export_first(str(error).splitlines()[0]) from None


def write_checkpoint(path: Path, module: ResumableModule) -> Path:
    """Write a checkpoint for ``load_from_checkpoint`` of the module's class: weights and sizes, no training state."""
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
