"""Write checkpoints atomically, load them safely, and find the newest intact one of a folder."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import pickle
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from fusecast.errors import ArtifactError, TrainingError
from fusecast.errors.artifact import UnsafeArtifactError
from fusecast.io.atomic import replacing
from fusecast.training.callbacks.last_checkpoint import LAST


def load_checkpoint(path: Path | str, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint that holds tensors and plain values only.

    Raises
    ------
    ArtifactError
        If the file is missing or truncated, or holds anything that loading would have to execute. Nothing in it is
        executed, ever.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError.missing(path, "a checkpoint file such as last.ckpt")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # of files that are refused next
            content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's restricted unpickler names the callable that it refused to look up
        refused = re.search(r"GLOBAL ([\w.]+)|(?:class|type|function) ([\w.]+)", str(error))
        if refused is None:
            raise ArtifactError.unreadable(path, "its content makes no sense") from None
        raise ArtifactError.unsafe(path, refused[1] or refused[2]) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else "it ends too early"
        raise ArtifactError.unreadable(path, reason) from None
    if not isinstance(content, dict):
        raise ArtifactError.unreadable(path, f"it holds a {type(content).__name__}, no checkpoint")
    return content


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to checkpoint files, replaced by ours."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary name beside `path`, then rename."""
        try:
            with replacing(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:  # torch's own writer knows no OSError
            reason = error.strerror if isinstance(error, OSError) else None
            raise ArtifactError.unwritten(path, reason or "the disk is full, or has gone") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read safely, whatever `weights_only` says."""
        return load_checkpoint(path, map_location or "cpu")


class MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that remembers its best by name, so that a run's folder can be moved and then resumed."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Look for the remembered files in the present folder; forget those that are not there."""
        folder = Path(self.dirpath or ".")

        def here(path: str) -> str:
            found = folder / Path(path).name
            return str(found) if path and found.is_file() else ""

        best = {here(path): score for path, score in state_dict["best_k_models"].items() if here(path)}
        paths = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        state = {**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath}
        if not paths["best_model_path"]:
            state["best_model_score"] = None
        super().load_state_dict(state)


@dataclass(frozen=True, kw_only=True)
class Newest:
    """The newest checkpoint that can be read, and what was found instead of newer ones."""

    path: Path | None  # None: there is no checkpoint at all
    skipped: tuple[tuple[Path, str], ...] = ()  # files that cannot be read, with the reason

    def in_words(self) -> str:
        """Say which files were passed over, and what is used instead."""
        reasons = "; ".join(reason.splitlines()[0] for _, reason in self.skipped)
        return f"{reasons}. Going on from {self.path} instead."


def newest_checkpoint(folder: Path) -> Newest:
    """Find the newest intact checkpoint of a folder, by the time that each holds; nothing in them is executed.

    Raises
    ------
    TrainingError
        If there are checkpoints and none can be read.
    """
    intact: list[tuple[float, bool, Path]] = []
    skipped = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            content = load_checkpoint(path)
        except ArtifactError as error:
            skipped.append((path, str(error)))
            continue
        if {"saved", "loops", "state_dict"} <= content.keys():
            intact.append((content["saved"], path.name == LAST, path))
    if skipped and not intact:
        raise TrainingError.no_intact_checkpoint(folder, [reason.splitlines()[0] for _, reason in skipped])
    return Newest(path=max(intact)[2] if intact else None, skipped=tuple(skipped))


def intact_or_newest(path: Path) -> Newest:
    """Give a checkpoint, or, where it is truncated, the newest intact one beside it.

    Raises
    ------
    ArtifactError
        If the file is missing or unsafe; that is never passed over in silence.
    TrainingError
        If it is truncated, and no other can be read.
    """
    try:
        load_checkpoint(path)
    except ArtifactError as error:
        if not path.is_file() or isinstance(error, UnsafeArtifactError):
            raise
        found = newest_checkpoint(path.parent)
        if found.path is None:
            raise
        return found
    return Newest(path=path)
