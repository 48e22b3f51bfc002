from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from fusecast.errors.base import FusecastError, some_of


class TrainingError(FusecastError):
    """Training cannot start or continue."""

    @classmethod
    def loss_not_finite(cls, loss: float, step: int, epoch: int, windows: Sequence[int]) -> Self:
        return cls(
            f"the training loss became {loss} in step {step} of epoch {epoch}, in the batch of {len(windows)} windows "
            f"with the numbers {some_of(windows)}\n"
            "Hint: lower the learning rate or the gradient clip, train with precision 32, "
            "or look for extreme values in the series of these windows"
        )

    @classmethod
    def validation_not_finite(cls, loss: float, epoch: int) -> Self:
        return cls(
            f"the validation loss became {loss} after epoch {epoch}\n"
            "Hint: lower the learning rate, train with precision 32, "
            "or look for extreme values in the validation span"
        )

    @classmethod
    def no_windows(cls) -> Self:
        return cls("there is no window to train on\nHint: shorten the horizon, or make validation and test smaller")

    @classmethod
    def checkpoints_exist(cls, folder: object, names: Sequence[str]) -> Self:
        return cls(f"folder {folder} already holds checkpoints: {some_of(names)}\nHint: resume, or use a new folder")

    @classmethod
    def folder_in_use(cls, folder: object) -> Self:
        return cls(f"another process is training into folder {folder}\nHint: wait for its end, or use another folder")

    @classmethod
    def folder_replaced(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} was moved, removed or replaced while a training wrote into it: the training has ended, "
            "and nothing of it was written there since\n"
            "Hint: stop a training before its folder is moved or removed; a moved one can be resumed where it is now"
        )

    @classmethod
    def other_run(cls, checkpoint: object, folder: object, identity: object) -> Self:
        return cls(
            f"training cannot be resumed from {checkpoint}: it is of another run than folder {folder}\n"
            "Hint: resume in the folder of its own run, or in a new one; to continue it in this folder all the same, "
            f"remove {identity}"
        )

    @classmethod
    def no_best(cls, folder: object) -> Self:
        return cls(
            f"training in {folder} is done, but the file of its best weights is missing or damaged\n"
            "Hint: restore that file, or train more epochs with --resume and a larger --max-epochs"
        )

    @classmethod
    def other_data(cls) -> Self:
        return cls(
            "training cannot be resumed: the table differs from the one that it began with\n"
            "Hint: resume with that table, or start a new training in another folder"
        )

    @classmethod
    def checkpoint_mismatch(cls, path: object, reason: str) -> Self:
        return cls(f"training cannot be resumed from {path}: {reason}")

    @classmethod
    def weights_alone(cls, path: object, kind: str) -> Self:
        return cls(
            f"training cannot be resumed from {path}: it holds no state of a training by fusecast\n"
            f"Hint: to train its weights anew, fit {kind}.load_from_checkpoint(path) without `ckpt_path`"
        )

    @classmethod
    def no_intact_checkpoint(cls, folder: object, reasons: Sequence[str]) -> Self:
        return cls(
            f"training cannot be resumed from {folder}: no checkpoint in it can be read: {'; '.join(reasons)}\n"
            "Hint: start a new training in another folder"
        )

    @classmethod
    def nothing_to_resume(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} holds no run to resume\n"
            "Hint: pass the folder of the run that stopped; without --resume a new run begins"
        )

    @classmethod
    def other_windows(cls, earlier: int, now: int) -> Self:
        return cls(
            f"training cannot be resumed: it had {earlier} windows to train on, and now there are {now}\n"
            "Hint: resume with the same data, lookback, horizon, split and version of fusecast"
        )

    @classmethod
    def in_member(cls, number: int, text: str) -> Self:
        return cls(f"member {number}: {text}")

    @classmethod
    def in_final_training(cls, text: str) -> Self:
        return cls(
            f"the training of the final networks, on all rows: {text}\n"
            "Hint: the scored networks are done; resumed with `--final none`, the run keeps these alone"
        )

    @staticmethod
    def killed_process(name: str) -> str:
        return (
            f"its process was killed ({name}), perhaps by the system for want of memory\n"
            "Hint: train fewer members, or free memory, and resume: the others continue where they were"
        )

    @staticmethod
    def failed_process(code: int, last_line: str) -> str:
        reason = f": {last_line}" if last_line else ""
        return f"its process ended with exit code {code}{reason}\nHint: the lines above have what it printed"

    @classmethod
    def not_fitted(cls) -> Self:
        return cls("no model is trained yet\nHint: call `fit`, or load a saved model")


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl+C ended training before a model existed. A KeyboardInterrupt, which `except Exception` does not catch."""

    @classmethod
    def before_first_model(cls, folder: object, step: int) -> Self:
        return cls(
            f"training was interrupted after step {step}, before its first epoch was validated: there is no model yet\n"
            f"Hint: continue with `fusecast fit --resume --out {folder}`, "
            "or `fit(folder=..., resume=True)`"
        )

    @classmethod
    def without_folder(cls) -> Self:
        return cls(
            "training was interrupted before its first epoch was validated: there is no model, and nothing was saved\n"
            "Hint: `fit(folder=...)` saves checkpoints, from which `fit(folder=..., resume=True)` continues"
        )

    @classmethod
    def within_refit(cls, block: int) -> Self:
        return cls(
            f"the backtest was interrupted while refit {block} was trained\n"
            "Hint: the same backtest with the same output file continues with this refit"
        )
