"""Checkpoints: written atomically, loaded without executing anything, and chosen for a run to resume from."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from fusecast.errors import ArtifactError, TrainingError
from fusecast.errors.artifact import UnsafeArtifactError
from fusecast.io.atomic import replace_file
from fusecast.runtime.distributed import is_first_process
from fusecast.training.callbacks.last_checkpoint import LAST
from fusecast.training.callbacks.progress import notify

STATE_OF_TRAINING = {"state_dict", "optimizer_states", "loops", "epoch_loss", "hyper_parameters"}
"""What a checkpoint holds that training can be resumed from; converted weights hold less."""


def load_checkpoint(path: Path | str, map_location: torch.device | str = "cpu") -> dict[str, Any]:
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
        # torch's restricted unpickler names the callable that it refused to import
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
    """Lightning's plugin for checkpoint files: atomic writes, safe reads."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary name beside `path`, then rename."""
        try:
            with replace_file(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:  # torch's own writer raises no OSError
            reason = error.strerror if isinstance(error, OSError) else None
            raise ArtifactError.write_failed(path, reason or "the disk is full, or has gone") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read safely, whatever `weights_only` is."""
        return load_checkpoint(path, map_location or "cpu")


class MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that remembers its best by name, so that a run's folder can be moved and then resumed."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Find the remembered files in the present folder; forget those that are not there."""
        folder = Path(self.dirpath or ".")

        def in_folder(path: str) -> str:
            present = folder / Path(path).name
            return str(present) if path and present.is_file() else ""

        best = {in_folder(path): score for path, score in state_dict["best_k_models"].items() if in_folder(path)}
        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        state = {**state_dict, **{name: in_folder(state_dict[name]) for name in names}}
        state |= {"best_k_models": best, "dirpath": self.dirpath}
        if not state["best_model_path"]:
            state["best_model_score"] = None
        super().load_state_dict(state)


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest intact checkpoint of a folder, and one line for each file in it that cannot be read.

    The time that each holds decides; nothing in them is executed. A folder without checkpoints, or that does not exist,
    has None.

    Raises
    ------
    TrainingError
        If there are checkpoints and none can be read.
    """
    intact: list[tuple[float, bool, Path]] = []
    unreadable = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            content = load_checkpoint(path)
        except ArtifactError as error:
            unreadable.append(str(error).splitlines()[0])
            continue
        if {"saved", "loops", "state_dict"} <= content.keys():
            intact.append((content["saved"], path.name == LAST, path))
    if unreadable and not intact:
        raise TrainingError.no_intact_checkpoint(folder, unreadable)
    return max(intact)[2] if intact else None, unreadable


def choose_checkpoint(requested: Path, own_folder: Path) -> Path | None:
    """Return the checkpoint to resume a run from, and print a line where it is not the requested one.

    Parameters
    ----------
    requested
        A file, which stands for the newest intact one beside it where it is truncated; or a folder, which stands for
        its newest intact checkpoint.
    own_folder
        The run's folder of checkpoints. It need not exist: a run that was killed before its first checkpoint has none.

    Returns
    -------
    None where there is no checkpoint yet: training starts from the beginning.

    Raises
    ------
    ArtifactError
        If the file is missing or unsafe; that is never passed over in silence.
    TrainingError
        If there are checkpoints and none can be read.
    """
    if requested.is_dir() or requested == own_folder:
        path, unreadable = newest_checkpoint(requested)
        if path is None and is_first_process():
            notify(f"{requested} holds no checkpoint yet: training starts from the beginning")
    else:
        try:
            load_checkpoint(requested)
            return requested
        except ArtifactError as error:
            if not requested.is_file() or isinstance(error, UnsafeArtifactError):
                raise
            path, unreadable = newest_checkpoint(requested.parent)
            if path is None:
                raise
    if unreadable and is_first_process():
        notify(f"{'; '.join(unreadable)}. Going on from {path} instead.")
    return path


def load_training_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint that training can be resumed from.

    Raises
    ------
    TrainingError
        If it holds weights alone.
    """
    content = load_checkpoint(path)
    if not content.keys() >= STATE_OF_TRAINING:
        raise TrainingError.checkpoint_mismatch(path, "it holds no state of a training by fusecast")
    return content


def require_same_network(path: Path, saved: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Raise a TrainingError that names the sizes in which a checkpoint's network differs from the requested one."""
    differences = [
        f"{name} was {saved.get(name)} and is {value}" for name, value in requested.items() if saved.get(name) != value
    ]
    if differences:
        raise TrainingError.checkpoint_mismatch(path, "; ".join(differences))
