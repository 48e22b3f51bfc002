"""Convert an old file of weights into a checkpoint of this library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fusecast.errors import ArtifactError, ConfigError
from fusecast.interop import native, nvidia, pytorch_forecasting, scripts
from fusecast.interop.rules import Matching, Plan, carry_out
from fusecast.interop.state_dict import Weights, read_weights, write_checkpoint
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.resumable_module import ResumableModule


class Importer(Protocol):
    """A kind of old file."""

    LANDMARK: str

    def plan(self, weights: Weights, config: Mapping[str, Any], sizes: Mapping[str, Any]) -> Plan:
        """Say which tensor becomes which."""


KINDS: Mapping[str, Importer] = {
    "native": native,
    "scripts": scripts,
    "nvidia": nvidia,
    "pytorch-forecasting": pytorch_forecasting,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Migration:
    """A network with old weights, and how they fitted."""

    kind: str
    module: ResumableModule  # on the CPU, in eval mode
    matching: Matching
    notes: tuple[str, ...]
    """What was assumed, and what the user should know."""
    path: Path | None
    """The checkpoint written, None where none was asked for."""

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
    """Old weights that do not match; `matching` says which."""

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
    """Take weights over from an old file. Nothing in the file is ever executed.

    Parameters
    ----------
    old
        What ``torch.save`` wrote, a state dict by itself or within a checkpoint, or a ``.safetensors`` file.
    to
        Checkpoint to write, for ``load_from_checkpoint`` of the LightningModule; None writes none.
    kind
        ``"native"``; ``"scripts"``, the same network in the module that the training script has; ``"nvidia"``;
        ``"pytorch-forecasting"``; or ``"auto"`` to tell by the names.
    config
        What describes the old network: a ModelConfig in plain values for a native file, else the configuration of
        its library.
    sizes
        Fields of the ModelConfig that nobody else says, such as ``horizon`` and ``lookback``.
    partial
        Whether to take what matches and leave the rest untrained.

    Raises
    ------
    ArtifactError
        When the file is missing, truncated, unsafe or of an unknown kind, matches in part only, or holds a network
        that cannot be reproduced here.
    ConfigError
        When a size is said by nobody, or sizes cannot work.
    """
    if kind != "auto" and kind not in KINDS:
        raise ConfigError.not_one_of("from", kind, ("auto", *KINDS))
    path = Path(old)
    weights = read_weights(path)
    found = _kind_of(weights) if kind == "auto" else kind
    plan = KINDS[found].plan(weights, config or {}, sizes or {})
    module, matching = carry_out(plan, weights)
    if not matching.complete and not partial:
        names = (matching.names(status) for status in ("missing", "unexpected", "wrong shape"))
        error = PartialMatchError(str(ArtifactError.partial_match(path, *names)))
        error.matching = matching
        raise error
    written = None if to is None else write_checkpoint(Path(to), module)
    return Migration(kind=found, module=module, matching=matching, notes=plan.notes, path=written)


def _kind_of(weights: Weights) -> str:
    matching = [name for name, importer in KINDS.items() if importer.LANDMARK in weights.tensors]
    if matching:
        return matching[-1]  # a file of the scripts is a native one with more in it
    raise ArtifactError.unknown_weights(weights.path, list(weights.tensors))
