"""The deployable bundle: a folder with a network, its preprocessor, and values saved with them. No pickle.

==================  =================================================================================
config.json         format, versions, the ``ModelConfig``, checksums of the other two, and extra values
preprocessor.json   the fitted preprocessor
model.safetensors   the weights, by the names of ``TemporalFusionTransformer.state_dict()``
==================  =================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from fusecast._version import __version__
from fusecast.errors import ArtifactError, FusecastError
from fusecast.features.preprocessor import FittedPreprocessor
from fusecast.io.atomic import compute_checksum, finish_replacing, replace_files
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer

FORMAT = 1
CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor.json", "model.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A network with its preprocessor, as saved in a folder."""

    network: TemporalFusionTransformer  # on the CPU, in eval mode
    preprocessor: FittedPreprocessor
    extra: Mapping[str, Any] = field(default_factory=dict)  # as passed to save_bundle
    version: str = __version__  # of the fusecast that wrote it

    def __repr__(self) -> str:
        config = self.network.config
        return f"Bundle(lookback={config.lookback}, horizon={config.horizon}, head={config.head!r})"


def save_bundle(
    folder: Path,
    network: TemporalFusionTransformer,
    preprocessor: FittedPreprocessor,
    extra: Mapping[str, Any] | None = None,
    more: Mapping[str, bytes] | None = None,
) -> None:
    """Write a network, on any device, and the preprocessor that it was trained with, and plain `extra` values.

    The folder is created if it does not exist. Files of an older bundle, and `more` files by name, are replaced when
    all are complete, the config first; :func:`load_bundle` does what a kill in between has left undone. Other files are
    not touched.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    contents = {
        PREPROCESSOR: preprocessor.to_json().encode(),
        WEIGHTS: tensors_to_bytes(weights, metadata={"format": "pt"}),
    }
    config = {
        "format": FORMAT,
        "fusecast": __version__,
        "model": network.config.to_dict(),
        "sha256": {name: compute_checksum(content) for name, content in contents.items()},
        "extra": dict(extra or {}),
    }
    contents = {**(more or {}), **contents, CONFIG: json.dumps(config, indent=2, allow_nan=False).encode()}
    replace_files({folder / name: content for name, content in contents.items()})


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle.

    Raise an ArtifactError if a file is missing, truncated, from another save or from a newer fusecast, or if the
    weights do not fit the network of the configuration.
    """
    config = _read_config(folder / CONFIG)
    for name in (PREPROCESSOR, WEIGHTS):
        finish_replacing(folder / name, config["sha256"].get(name))
    contents = {name: _read(folder / name) for name in (PREPROCESSOR, WEIGHTS)}
    for name, content in contents.items():
        if compute_checksum(content) != config["sha256"].get(name):
            raise ArtifactError.unreadable(folder / name, f"it is not the file that {CONFIG} was written for")
    try:
        network = TemporalFusionTransformer(ModelConfig(**config["model"]))
        preprocessor = FittedPreprocessor.from_json(contents[PREPROCESSOR].decode())
        weights = tensors_from_bytes(contents[WEIGHTS])
    except ArtifactError:
        raise
    except (SafetensorError, FusecastError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError.unreadable(folder, str(error)) from error
    load_weights(network, weights, folder / WEIGHTS)
    return Bundle(network=network.eval(), preprocessor=preprocessor, extra=config["extra"], version=config["fusecast"])


def load_weights(network: TemporalFusionTransformer, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors, read from the file `path`, into a network.

    Raise an ArtifactError with the names of tensors that are missing, unexpected, or of another shape.
    """
    state = network.state_dict()
    shapes = {name for name in state.keys() & weights.keys() if state[name].shape != weights[name].shape}
    missing, unexpected = state.keys() - weights.keys(), weights.keys() - state.keys()
    if missing or unexpected or shapes:
        raise ArtifactError.wrong_tensors(path, missing, unexpected, shapes)
    network.load_state_dict(dict(weights))


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ArtifactError.missing(path, f"a folder with {CONFIG}, {PREPROCESSOR} and {WEIGHTS}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError.unreadable(path, error.strerror or str(error)) from None


def _read_config(path: Path) -> dict[str, Any]:
    content = _read(path)
    try:
        config = json.loads(content)
    except ValueError as error:
        raise ArtifactError.unreadable(path, str(error)) from None
    if not isinstance(config, dict) or "format" not in config:
        raise ArtifactError.unreadable(path, "it does not describe a bundle of fusecast")
    if not isinstance(config["format"], int) or config["format"] > FORMAT:
        raise ArtifactError.newer(path, config["format"], FORMAT)
    absent = {"fusecast", "model", "sha256", "extra"} - config.keys()
    if absent:
        raise ArtifactError.unreadable(path, f"it lacks {', '.join(sorted(absent))}")
    return config
