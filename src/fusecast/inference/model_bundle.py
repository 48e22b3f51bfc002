"""The deployable bundle: a folder with networks, their preprocessor, and values saved with them. No pickle.

===================  ================================================================================
config.json          format, versions, the ``ModelConfig``, extra values, and the checksums of all files saved
preprocessor.json    the fitted preprocessor
model.safetensors    the weights, by the names of ``TemporalFusionTransformer.state_dict()``
model-2.safetensors  the weights of the second network, and so on, where there are several
arrays.safetensors   arrays saved with them, where there are any
final                folder with a bundle of the networks that forecast the future, where these are others
===================  ================================================================================
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as arrays_from_bytes
from safetensors.numpy import save as arrays_to_bytes
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from fusecast._version import __version__
from fusecast.config import WindowScaling
from fusecast.data.arrays import FloatArray
from fusecast.errors import ArtifactError, FusecastError
from fusecast.features.preprocessor import FittedPreprocessor
from fusecast.inference.manifest import refuse_exported
from fusecast.io.atomic import compute_checksum, finish_replacing, replace_files
from fusecast.io.documents import MAX_BYTES, check_file, parse_json, read_bytes, take
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer, limit_weights, require_finite

FORMAT = 3
"""The newest format, of bundles with final networks. Others are written in format 2, and a network alone, scaled as its
preprocessor says, in format 1, without its members."""
CONFIG, PREPROCESSOR, WEIGHTS, ARRAYS = "config.json", "preprocessor.json", "model.safetensors", "arrays.safetensors"
FINAL = "final"
"""The folder of the final networks, and the checksum of their config among the values of the other one."""
MAX_HEADER_BYTES = 10**8
"""Bytes of the header of a file of weights at most, as in the format itself."""
WIDEST = 8  # bytes of a number
MAX_DIMENSIONS = 8


@dataclass(frozen=True, eq=False)
class Member:
    """One of the networks whose forecasts are mixed, and how its windows are scaled."""

    network: TemporalFusionTransformer  # on the CPU, in eval mode
    window_scaling: WindowScaling

    def __repr__(self) -> str:
        return f"Member(head={self.network.config.head!r}, window_scaling={self.window_scaling!r})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """One network, or several of the same configuration, with their preprocessor, as saved in a folder.

    These are the judged networks: they have learned from the training rows, and are scored on others. A run may have
    `final` ones too, which have learned from all rows, with a preprocessor of their own; they forecast the future.
    Members differ in their weights, and may differ in their window scaling; that of the preprocessor does not count.
    """

    members: tuple[Member, ...]
    preprocessor: FittedPreprocessor
    extra: Mapping[str, Any] = field(default_factory=dict)  # as passed to save_bundle
    arrays: Mapping[str, FloatArray] = field(default_factory=dict)  # as passed to save_bundle
    version: str = __version__  # of the fusecast that wrote it
    final: Bundle | None = None

    def __repr__(self) -> str:
        config = self.config
        members = f", members={len(self.members)}" if len(self.members) > 1 else ""
        final = ", with final networks" if self.final else ""
        return f"Bundle(lookback={config.lookback}, horizon={config.horizon}, head={config.head!r}{members}{final})"

    @property
    def config(self) -> ModelConfig:
        """Sizes of each network."""
        return self.members[0].network.config

    @property
    def for_future(self) -> Bundle:
        """The networks that forecast the future: the final ones, where there are any."""
        return self.final or self

    @property
    def run_id(self) -> str:
        """Sixteen hexadecimal digits that no other training has, from the weights of all networks."""
        final = "" if self.final is None else self.final.digest()
        return hashlib.sha256(f"{self.digest()}{final}".encode()).hexdigest()[:16]

    def digest(self) -> str:
        """Return a checksum of the weights of the members."""
        digest = hashlib.sha256()
        for member in self.members:
            for name, tensor in member.network.state_dict().items():
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
        return digest.hexdigest()


def save_bundle(
    folder: Path,
    members: Sequence[Member],
    preprocessor: FittedPreprocessor,
    extra: Mapping[str, Any] | None = None,
    more: Mapping[str, bytes] | None = None,
    *,
    arrays: Mapping[str, FloatArray] | None = None,
    final: Bundle | None = None,
) -> None:
    """Write networks, on any device, the preprocessor that they were trained with, plain `extra` values and `arrays`.

    The folder is created if it does not exist. Files of an older bundle, and `more` files by name, are replaced when
    all are complete, the config first; :func:`load_bundle` does what a kill in between has left undone. Weights of more
    networks than there are now, and a bundle of `final` networks where there are none now, are removed; other files are
    not touched. Raise an ArtifactError where weights are NaN or infinite, or the folder is an exported bundle.
    """
    refuse_exported(folder)
    contents = bundle_contents(folder, members, preprocessor, extra, more, arrays=arrays, final=final)
    own = [folder, folder / FINAL] if final is not None or _has_final(folder) else [folder]
    replace_files(contents)
    for place in own:
        parts = (CONFIG, PREPROCESSOR, WEIGHTS, ARRAYS)
        for path in (*(place / name for name in parts), *place.glob("model-*.safetensors")):
            if path not in contents and (path.name in parts or re.fullmatch(r"model-\d+", path.stem)):
                with suppress(OSError):  # it is of no bundle any more
                    path.unlink()


def bundle_contents(
    folder: Path,
    members: Sequence[Member],
    preprocessor: FittedPreprocessor,
    extra: Mapping[str, Any] | None = None,
    more: Mapping[str, bytes] | None = None,
    *,
    arrays: Mapping[str, FloatArray] | None = None,
    final: Bundle | None = None,
) -> dict[Path, bytes]:
    """Return the content of each file that :func:`save_bundle` writes, the config last."""
    contents: dict[Path, bytes] = {}
    checksum = None
    if final is not None:
        contents = _contents(folder / FINAL, final.members, final.preprocessor, final.extra, arrays=final.arrays)
        checksum = compute_checksum(contents[folder / FINAL / CONFIG])
    return contents | _contents(folder, members, preprocessor, extra, more, arrays=arrays, final_checksum=checksum)


def _contents(
    folder: Path,
    members: Sequence[Member],
    preprocessor: FittedPreprocessor,
    extra: Mapping[str, Any] | None,
    more: Mapping[str, bytes] | None = None,
    *,
    arrays: Mapping[str, FloatArray] | None = None,
    final_checksum: str | None = None,
) -> dict[Path, bytes]:
    """Return the content of each file of a bundle in a folder, the config last."""
    contents = {**(more or {}), PREPROCESSOR: preprocessor.to_json().encode()}
    for name, member in zip(weight_files(len(members)), members, strict=True):
        weights = {key: tensor.detach().cpu().contiguous() for key, tensor in member.network.state_dict().items()}
        require_finite(weights, folder / name)
        contents[name] = tensors_to_bytes(weights, metadata={"format": "pt"})
    if arrays:
        contents[ARRAYS] = arrays_to_bytes({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    scalings = [member.window_scaling for member in members]
    is_plain = scalings == [preprocessor.config.window_scaling]
    version = FORMAT if final_checksum is not None else 1 if is_plain else 2
    config: dict[str, Any] = {
        "format": version,
        "fusecast": __version__,
        "model": members[0].network.config.to_dict(),
        **({} if version == 1 else {"members": [{"window_scaling": scaling} for scaling in scalings]}),
        **({} if final_checksum is None else {FINAL: final_checksum}),
        "sha256": {name: compute_checksum(content) for name, content in contents.items()},
        "extra": dict(extra or {}),
    }
    config["sha256"] |= {CONFIG: _checksum_of_values(config)}
    contents[CONFIG] = json.dumps(config, indent=2, allow_nan=False).encode()
    return {folder / name: content for name, content in contents.items()}


def weight_files(count: int) -> list[str]:
    """Return the names of the files of weights of so many networks."""
    return [WEIGHTS, *(f"model-{number}.safetensors" for number in range(2, count + 1))]


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle, with its final networks where it has any.

    Raise an ArtifactError if a file is missing, truncated, damaged, from another save or from a newer fusecast, or if
    the weights do not fit the network of the configuration, which is built only after their shapes were compared.
    """
    config = _read_config(folder / CONFIG)
    final = _load_final(folder, config)
    for name, checksum in config["sha256"].items():
        if name and Path(name).name == name:
            finish_replacing(folder / name, checksum)
    scalings = _read_members(folder / CONFIG, config)
    files = weight_files(1 if scalings is None else len(scalings))
    _require_checksum(folder / PREPROCESSOR, preprocessor := _read(folder / PREPROCESSOR), config)
    shapes = [read_shapes(folder / name) for name in files]
    try:
        model = ModelConfig(**config["model"])
        fitted = FittedPreprocessor.from_json(preprocessor)
    except ArtifactError:
        raise
    except (FusecastError, TypeError) as error:
        raise ArtifactError.unreadable(folder / CONFIG, str(error)) from None
    sizes = fitted.inputs.sizes()
    if {name: getattr(model, name) for name in sizes} != sizes:
        raise ArtifactError.unreadable(folder, f"{PREPROCESSOR} has other inputs than the network in {CONFIG}")
    members = tuple(
        Member(_read_network(folder / name, model, sum(map(prod, sizes.values())), config), scaling)
        for name, sizes, scaling in zip(files, shapes, scalings or [fitted.config.window_scalings[0]], strict=True)
    )
    arrays = _read_arrays(folder / ARRAYS, config) if ARRAYS in config["sha256"] else {}
    extra, version = config["extra"], config["fusecast"]
    return Bundle(members=members, preprocessor=fitted, extra=extra, arrays=arrays, version=version, final=final)


def _has_final(folder: Path) -> bool:
    """Whether the bundle in a folder has final networks; False where there is no bundle that can be read."""
    try:
        return FINAL in _read_config(folder / CONFIG)
    except ArtifactError:
        return False


def _load_final(folder: Path, config: Mapping[str, Any]) -> Bundle | None:
    """Read the bundle of the final networks that a config speaks of, as they were saved with it."""
    if config["format"] < FORMAT:
        return None
    path = folder / FINAL / CONFIG
    finish_replacing(path, config[FINAL])
    if compute_checksum(_read(path)) != config[FINAL]:
        raise ArtifactError.unreadable(path, f"it is not the file that {folder / CONFIG} was written for")
    if _read_config(path)["format"] >= FORMAT:
        raise ArtifactError.unreadable(path, "final networks have none of their own")
    return load_bundle(path.parent)


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shapes of the tensors in a safetensors file, from its header alone.

    Raise an ArtifactError where the file is missing or cannot be read, or is larger than such tensors can be.
    """
    try:
        _require_file(path)
        size = check_file(path, 2**63)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size, MAX_HEADER_BYTES):
                raise ValueError("its header is damaged, or it is truncated")
            header = parse_json(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is damaged")
        header.pop("__metadata__", None)
        shapes = {name: take(take(header, name, dict), "shape", list, items=int) for name in header}
        if any(len(shape) > MAX_DIMENSIONS or min(shape, default=0) < 0 for shape in shapes.values()):
            raise ValueError("its header has shapes that no tensor of a network has")
        largest = 8 + length + WIDEST * sum(prod(shape) for shape in shapes.values())
        if size > largest:
            raise ValueError(f"it has {size:,} bytes, and its tensors at most {largest:,}")
    except (OSError, ValueError) as error:
        raise ArtifactError.unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    return shapes


def load_weights(network: TemporalFusionTransformer, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors, read from the file `path`, into a network.

    Raise an ArtifactError with the names of tensors that are missing, unexpected, of another shape, or not finite.
    """
    state = network.state_dict()
    shapes = {name for name in state.keys() & weights.keys() if state[name].shape != weights[name].shape}
    missing, unexpected = state.keys() - weights.keys(), weights.keys() - state.keys()
    if missing or unexpected or shapes:
        raise ArtifactError.wrong_tensors(path, missing, unexpected, shapes)
    require_finite(weights, path)
    network.load_state_dict(dict(weights))


def _read_network(path: Path, model: ModelConfig, numbers: int, config: Mapping[str, Any]) -> TemporalFusionTransformer:
    """Return a network with the weights in a file, which holds so many `numbers`."""
    with limit_weights(numbers, path):
        network = TemporalFusionTransformer(model)
    content = _read(path, 2**63)  # of a size that the shapes allow
    _require_checksum(path, content, config)
    try:
        weights = tensors_from_bytes(content)
    except SafetensorError as error:
        raise ArtifactError.unreadable(path, str(error)) from None
    load_weights(network, weights, path)
    return network.eval()


def _read_arrays(path: Path, config: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Return the arrays in a file, which are numbers that are finite."""
    read_shapes(path)
    content = _read(path, 2**63)  # of a size that the shapes allow
    _require_checksum(path, content, config)
    try:
        arrays = arrays_from_bytes(content)
    except (SafetensorError, ValueError) as error:
        raise ArtifactError.unreadable(path, str(error)) from None
    if not all(array.dtype == np.float64 and np.isfinite(array).all() for array in arrays.values()):
        raise ArtifactError.unreadable(path, "its values are not finite numbers of 8 bytes")
    return arrays


def _read_members(path: Path, config: Mapping[str, Any]) -> list[WindowScaling] | None:
    """Return the window scaling of each member; None in a bundle of format 1."""
    if config["format"] < 2:
        return None
    try:
        scalings: Any = [take(member, "window_scaling", str) for member in take(config, "members", list, items=dict)]
        if not scalings or not set(scalings) <= set(get_args(WindowScaling)):
            raise ValueError("its members are none that this version knows")
    except ValueError as error:
        raise ArtifactError.unreadable(path, str(error)) from None
    return list(scalings)


def _require_checksum(path: Path, content: bytes, config: Mapping[str, Any]) -> None:
    if compute_checksum(content) != config["sha256"].get(path.name):
        raise ArtifactError.unreadable(path, f"it is not the file that {CONFIG} was written for")


def _checksum_of_values(config: Mapping[str, Any]) -> str:
    """Return the checksum of a config without its own, as it is read from JSON."""
    as_read = json.loads(json.dumps(config, allow_nan=False))
    return compute_checksum(json.dumps(as_read, sort_keys=True).encode())


def _require_file(path: Path) -> None:
    if not path.exists():
        raise ArtifactError.missing(path, f"a folder with {CONFIG}, {PREPROCESSOR} and {WEIGHTS}")


def _read(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    _require_file(path)
    try:
        return read_bytes(path, max_bytes)
    except (OSError, ValueError) as error:
        raise ArtifactError.unreadable(path, getattr(error, "strerror", None) or str(error)) from None


def _read_config(path: Path) -> dict[str, Any]:
    content = _read(path)
    try:
        config = parse_json(content)
        if not isinstance(config, dict) or "format" not in config:
            raise ValueError("it does not describe a bundle of fusecast")
        version = config["format"]
        if isinstance(version, bool) or not isinstance(version, int) or version > FORMAT:
            raise ArtifactError.newer(path, version, FORMAT)
        take(config, "fusecast", str)
        if version == FORMAT:
            take(config, FINAL, str)
        checksums = take(config, "sha256", dict, items=str)
        for name in ("model", "extra"):
            take(config, name, dict)
        checksum = checksums.pop(CONFIG, None)  # bundles of earlier versions have none
        if checksum is not None and checksum != _checksum_of_values(config):
            raise ValueError("its values are not those that were written")
    except ValueError as error:
        raise ArtifactError.unreadable(path, str(error)) from None
    return config
