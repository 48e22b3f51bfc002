"""Convert weights from elsewhere into a checkpoint of fusecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fusecast.errors import ArtifactError, ConfigError
from fusecast.interop import native, nvidia, pytorch_forecasting, scripts
from fusecast.interop.rules import Matching, Plan, apply_plan
from fusecast.interop.state_dict import Weights, read_weights, write_checkpoint
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer, limit_weights
from fusecast.training.resumable_module import ResumableModule

MOST_WEIGHTS = 4
"""Weights of the converted network at most, for each number in the old file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Migration:
    """A network with old weights, and how they matched."""

    kind: str  # of the old file, as in :func:`convert`
    module: ResumableModule  # on the CPU, in eval mode
    matching: Matching  # which tensors matched
    notes: tuple[str, ...]
    """What was assumed, and what the user should know."""
    path: Path | None
    """The checkpoint that was written, None where none was requested."""

    def __repr__(self) -> str:
        return f"Migration(kind={self.kind!r}, complete={self.matching.complete}, path={self.path!r})"

    @property
    def network(self) -> TemporalFusionTransformer:
        """The network inside the module."""
        network = self.module.network
        assert isinstance(network, TemporalFusionTransformer)
        return network

    @property
    def config(self) -> ModelConfig:
        """Sizes of the network."""
        return self.network.config


class PartialMatchError(ArtifactError):
    """Old weights that match in part only; `matching` has one row a tensor."""

    matching: Matching


def convert(
    old: str | Path,
    to: str | Path | None = None,
    *,
    kind: str = "auto",
    config: Mapping[str, Any] | None = None,
    sizes: Mapping[str, Any] | None = None,
    partial: bool = False,
) -> Migration:
    """Convert the weights of an old file. Nothing in the file is ever executed.

    Parameters
    ----------
    old
        A file of ``torch.save`` (a state dict by itself or within a checkpoint), or a ``.safetensors`` file.
    to
        Checkpoint to write, for ``load_from_checkpoint`` of the LightningModule; None writes none.
    kind
        ``"native"``; ``"scripts"``, the same network in the module that the training script has; ``"nvidia"``;
        ``"pytorch-forecasting"``; or ``"auto"``, by the names of the tensors.
    config
        Description of the old network: a ModelConfig in plain values for a native file, else the configuration of
        its library.
    sizes
        Fields of the ModelConfig that cannot be inferred, such as ``horizon`` and ``lookback``; they override all else.
    partial
        Whether to convert the tensors that match and leave the rest untrained.

    Raises
    ------
    ArtifactError
        When the file is missing, truncated, unsafe or of an unknown kind, matches in part only, or holds a network
        that cannot be reproduced here.
    ConfigError
        When a size is neither given nor inferred, or sizes are impossible.
    """
    if kind not in ("auto", *IMPORTERS):
        raise ConfigError.not_one_of("from", kind, ("auto", *IMPORTERS))
    path = Path(old)
    weights = read_weights(path)
    kind = _recognise(weights) if kind == "auto" else kind
    numbers = sum(tensor.numel() for tensor in weights.tensors.values())
    with limit_weights(MOST_WEIGHTS * numbers, path):
        plan = IMPORTERS[kind].plan_conversion(weights, config or {}, sizes or {})
        module, matching = apply_plan(plan, weights)
    if not matching.complete and not partial:
        missing, unexpected = matching.names("missing"), matching.names("unexpected")
        hint = "--partial loads what matches, and leaves the rest of the network untrained"
        error = PartialMatchError(
            str(ArtifactError.wrong_tensors(path, missing, unexpected, matching.names("wrong shape"), hint))
        )
        error.matching = matching
        raise error
    written = None if to is None else write_checkpoint(Path(to), module)
    return Migration(kind=kind, module=module, matching=matching, notes=plan.notes, path=written)


class Importer(Protocol):
    """A kind of old file."""

    MARKER_TENSOR: str
    """A tensor by which files of the kind are recognised."""

    def plan_conversion(self, weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
        """Return the rules by which old tensors become those of this network.

        Raises
        ------
        ArtifactError, ConfigError
            When a size is neither given nor inferred, sizes are impossible, or the file is not of this kind.
        """


IMPORTERS: Mapping[str, Importer] = {
    "native": native,
    "scripts": scripts,
    "nvidia": nvidia,
    "pytorch-forecasting": pytorch_forecasting,
}


def _recognise(weights: Weights) -> str:
    """Return the kind of a file, by the tensors in it."""
    kinds = [kind for kind, importer in IMPORTERS.items() if importer.MARKER_TENSOR in weights.tensors]
    if not kinds:
        raise ArtifactError.unknown_weights(weights.path, list(weights.tensors))
    return kinds[-1]  # a file of the scripts has all tensors of a native one, and more
