"""Checkpoints: written often and atomically, read without executing anything, and chosen for a run to resume from."""

from __future__ import annotations

import pickle
import re
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from torch.serialization import get_unsafe_globals_in_checkpoint

from fusecast.errors import ArtifactError, TrainingError
from fusecast.errors.artifact import UnsafeArtifactError
from fusecast.errors.base import shorten
from fusecast.io.archive import ExcessiveMemory, check_archive
from fusecast.io.atomic import replace_file, write_text_atomically
from fusecast.model.tft import require_finite
from fusecast.runtime.distributed import holds_in_any_process, is_first_process
from fusecast.runtime.lock import FolderLock
from fusecast.training.callbacks.averaging import CURRENT_WEIGHTS
from fusecast.training.callbacks.progress import notify

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
STATE_OF_TRAINING = {"state_dict", "optimizer_states", "loops", "epoch_loss", "hyper_parameters"}
"""What a checkpoint holds that training can be resumed from; converted weights hold less."""

IDENTITY = "run.id"
"""The file in a run's folder with its identity, which its checkpoints hold under RUN."""
RUN = "run"


def load_checkpoint(path: Path | str, map_location: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint that holds tensors and plain values only; nothing in it is executed, ever.

    An ArtifactError is raised where the file is missing, truncated or damaged, would take more memory than it has
    bytes, or holds anything that loading would execute.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError.missing(path, "a checkpoint file such as last.ckpt")
    try:
        check_archive(path)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # of files that are refused next
            content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's restricted unpickler names the callable that it refused to import
        refused = re.search(r"GLOBAL ([\w.]+)|(?:class|type|function) ([\w.]+)", str(error))
        if refused is None:
            raise ArtifactError.unreadable(path, "its content makes no sense") from None
        raise ArtifactError.unsafe(path, refused[1] or refused[2]) from None
    except Exception as error:  # noqa: BLE001  of zipfile and torch, for whatever a damaged file holds
        unsafe: list[str] = []
        if isinstance(error, ExcessiveMemory):  # bytes, which other libraries save together with their classes
            with suppress(Exception):
                unsafe = get_unsafe_globals_in_checkpoint(path)
        if unsafe:
            raise ArtifactError.unsafe(path, unsafe[0]) from None
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else "it ends too early"
        raise ArtifactError.unreadable(path, reason) from None
    if not isinstance(content, dict):
        raise ArtifactError.unreadable(path, f"it holds a {type(content).__name__}, no checkpoint")
    return content


def load_finite_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; an ArtifactError is raised also where its weights are NaN or infinite."""
    content = load_checkpoint(path)
    for name in ("state_dict", CURRENT_WEIGHTS):
        require_finite(select_tensors(content.get(name)), path)
    return content


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's plugin for checkpoint files: atomic writes, safe reads."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, *_: Any, **__: Any) -> None:
        """Write to a temporary name beside `path`, then rename."""
        try:
            with replace_file(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:  # torch's writer raises no OSError
            reason = error.strerror if isinstance(error, OSError) else None
            raise ArtifactError.write_failed(path, reason or "the disk is full, or has gone") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, *_: Any, **__: Any) -> dict[str, Any]:
        """Read safely, whatever Lightning's `weights_only` is."""
        return load_checkpoint(path, map_location or "cpu")


class MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that remembers its best by name, so that a run's folder can be moved and then resumed."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Find the remembered files in the present folder; forget those that are not there or cannot be read."""
        scores = (state_dict["best_model_score"], *state_dict["best_k_models"].values())
        if any(score is not None and not (isinstance(score, torch.Tensor) and score.ndim == 0) for score in scores):
            raise ValueError("a score of the best weights is no number")
        folder = Path(self.dirpath or ".")

        @cache
        def in_folder(path: str) -> str:
            present = folder / Path(path).name
            if not path or not present.is_file():
                return ""
            try:
                load_finite_checkpoint(present)
            except ArtifactError as error:
                if is_first_process():
                    notify(f"{str(error).splitlines()[0]}. The best weights are chosen anew from here on.")
                return ""
            return str(present)

        best = {in_folder(path): score for path, score in state_dict["best_k_models"].items() if in_folder(path)}
        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        state = {**state_dict, **{name: in_folder(state_dict[name]) for name in names}}
        state |= {"best_k_models": best, "dirpath": self.dirpath}
        if not state["best_model_path"]:
            state["best_model_score"] = None
        super().load_state_dict(state)


class RunFolder(pl.Callback):
    """Let a run write into the folder that it has locked and no other, and put its identity into its checkpoints.

    Called before the other callbacks and the loggers, which write files too.
    """

    def __init__(self, lock: FolderLock | None = None, identity: str | None = None) -> None:
        self.lock = lock
        self.identity = identity

    def require_own(self) -> None:
        """Raise a TrainingError where another folder, or none, has taken the place of the locked one."""
        if self.lock is not None:
            self.lock.require_in_place()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Check the folder before the learning rate is logged."""
        self.require_own()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Check the folder before a step is logged."""
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by Lightning
            self.require_own()

    def on_validation_epoch_end(self, *_: Any) -> None:
        """Check the folder before a validation is logged."""
        self.require_own()

    def on_train_epoch_end(self, *_: Any) -> None:
        """Check the folder before an epoch's files are written."""
        self.require_own()

    def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
        """Keep the loggers, which Lightning closes next, from writing into another run's folder."""
        if self.lock is not None and not self.lock.is_in_place():
            trainer.loggers = []

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Check the folder, and add the identity; Lightning writes the file next."""
        self.require_own()
        if self.identity is not None:
            checkpoint[RUN] = self.identity


class LastCheckpoint(Checkpoint):
    """Write ``last.ckpt`` into a folder after every epoch, and within epochs every so many `steps` or `minutes`.

    The one before becomes ``previous.ckpt``, so that a file spoiled by a full disk or a bad copy costs one interval,
    not the run.
    """

    def __init__(
        self, folder: Path, run_folder: RunFolder, *, steps: int | None = None, minutes: float | None = None
    ) -> None:
        self.folder = folder
        self.run_folder = run_folder
        self.steps = steps
        self.minutes = minutes
        self.saved_step = 0  # the optimizer step from which a resumed run would continue
        self._written_at = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Start the clock."""
        self.saved_step = trainer.global_step
        self._written_at = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write within an epoch; its last step is followed by validation, and by the file of the whole epoch."""
        whole = not trainer.is_last_batch and not is_accumulating(trainer)
        if whole and not trainer.should_stop and self._is_due(trainer):
            self.write(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write after all other callbacks and the learning rate have been updated."""
        self.write(trainer)

    def write(self, trainer: pl.Trainer) -> None:
        """Write ``last.ckpt``; every process calls this."""
        self.run_folder.require_own()
        path = self.folder / LAST
        if trainer.is_global_zero and path.exists():
            self._keep(path)
        trainer.save_checkpoint(path)
        self.saved_step = trainer.global_step
        self._written_at = time.monotonic()

    def _keep(self, path: Path) -> None:
        """Make a file the previous one, and let it stay where it is until the new one takes its place."""
        previous = self.folder / PREVIOUS
        try:
            previous.unlink(missing_ok=True)
            previous.hardlink_to(path)
        except OSError:  # a file system without such links
            path.replace(previous)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if self.steps is not None and trainer.global_step % self.steps == 0:
            return True
        if self.minutes is None:
            return False
        return holds_in_any_process(trainer, time.monotonic() - self._written_at >= 60.0 * self.minutes)


def is_accumulating(trainer: pl.Trainer) -> bool:
    """Whether the latest batch is within a step: its gradients are in no checkpoint, so that none may be written."""
    return not trainer.is_last_batch and (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches != 0


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest intact checkpoint of a folder, and one line for each file in it that is not intact.

    Not intact is a file that cannot be read, or whose weights are NaN or infinite. The time that each holds decides. A
    folder without checkpoints, or that does not exist, has None; a TrainingError is raised where there are checkpoints
    and none is intact.
    """
    intact: list[tuple[float, bool, Path]] = []
    unreadable = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            content = load_finite_checkpoint(path)
        except ArtifactError as error:
            unreadable.append(str(error).splitlines()[0])
            continue
        if {"saved", "loops", "state_dict"} <= content.keys() and isinstance(content["saved"], int | float):
            intact.append((content["saved"], path.name == LAST, path))
    if unreadable and not intact:
        raise TrainingError.no_intact_checkpoint(folder, unreadable)
    return max(intact)[2] if intact else None, unreadable


def choose_checkpoint(requested: Path, run_checkpoints: Path) -> Path | None:
    """Return the checkpoint to resume a run from; a line is printed where it is not the requested one.

    A file stands for itself or, where it is not intact, for the newest one beside it that is; a missing or unsafe file
    is an ArtifactError, never passed over in silence. A folder stands for its newest intact checkpoint, and so does
    `run_checkpoints`, the run's folder, which need not exist: a run that was killed before its first checkpoint has
    none. None means that training starts from the beginning; see :func:`newest_checkpoint` for its errors.
    """
    if requested.is_dir() or requested == run_checkpoints:
        path, unreadable = newest_checkpoint(requested)
        if path is None and is_first_process():
            notify(f"{requested} holds no checkpoint yet: training starts from the beginning")
    else:
        try:
            load_finite_checkpoint(requested)
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


def count_numbers(state_dict: Mapping[str, Any]) -> int:
    """Return how many numbers the tensors of a state dict hold."""
    return sum(tensor.numel() for tensor in state_dict.values() if isinstance(tensor, torch.Tensor))


def select_tensors(state_dict: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of a state dict whose numbers are all stored; none where it is no mapping."""
    values = state_dict if isinstance(state_dict, Mapping) else {}
    return {
        name: tensor
        for name, tensor in values.items()
        if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and not tensor.is_quantized
    }


def load_training_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint that training can be resumed from; a TrainingError is raised where it holds weights alone."""
    content = load_checkpoint(path)
    if not content.keys() >= STATE_OF_TRAINING or any(
        not isinstance(content[name], dict) for name in ("hyper_parameters", "state_dict")
    ):
        raise TrainingError.checkpoint_mismatch(path, "it holds no state of a training by fusecast")
    return content


def identify_run(folder: Path, checkpoint: Path | None) -> str | None:
    """Return the identity of the run in a folder; one that starts from the beginning is given a new one.

    None is a run that an earlier version of fusecast began. A TrainingError is raised where `checkpoint` is of another
    run than the folder; a folder without a run takes on that of the checkpoint.
    """
    path = folder / IDENTITY
    identity = uuid4().hex if checkpoint is None else load_checkpoint(checkpoint).get(RUN)
    if checkpoint is not None and not isinstance(identity, str | None):
        raise TrainingError.checkpoint_mismatch(checkpoint, f"the identity of its run is {shorten(identity)}, no text")
    if checkpoint is not None and path.exists():
        if path.read_text(encoding="utf-8", errors="replace") != identity:
            raise TrainingError.other_run(checkpoint, folder, path)
    elif identity is not None and is_first_process():
        write_text_atomically(path, identity)
    return identity


def require_same_network(path: Path, saved: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Raise a TrainingError that names the sizes in which a checkpoint's network differs from the requested one."""
    differences = [
        f"{name} was {saved.get(name)} and is {value}"
        for name, value in requested.items()
        if not are_equal(saved.get(name), value)
    ]
    if differences:
        raise TrainingError.checkpoint_mismatch(path, "; ".join(differences))


def are_equal(saved: Any, value: Any) -> bool:
    """Whether a value of a checkpoint, which may be anything, is a plain value."""
    try:
        return bool(saved == value)
    except (RuntimeError, ValueError):  # a tensor of several numbers is not true or false
        return False


def require_types(path: Path, expected: Any, value: Any, where: str = "it") -> None:
    """Raise a TrainingError where the content of a checkpoint has other types, or tensors other shapes, than expected.

    `expected` is the same state before training. What is None, or an empty list or mapping there, may be anything.
    """
    kind = type(expected)
    if expected is None:
        return
    if isinstance(expected, Mapping):
        if not isinstance(value, Mapping):
            raise TrainingError.checkpoint_mismatch(path, f"{where} is no mapping")
        for name in expected.keys() & value.keys():
            require_types(path, expected[name], value[name], f"{name} in {where}")
    elif isinstance(expected, list | tuple):
        if not isinstance(value, list | tuple) or (expected and not value):
            raise TrainingError.checkpoint_mismatch(path, f"{where} is {shorten(value)}, no list of values")
        for item in value if expected else ():
            require_types(path, expected[0], item, where)
    elif isinstance(expected, torch.Tensor):
        if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
            raise TrainingError.checkpoint_mismatch(path, f"{where} is no tensor of shape {list(expected.shape)}")
    elif isinstance(value, bool) != isinstance(expected, bool) or not isinstance(
        value, int | float if kind is float else kind
    ):
        raise TrainingError.checkpoint_mismatch(path, f"{where} is {shorten(value)}, no {kind.__name__}")
