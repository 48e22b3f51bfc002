from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from fusecast.errors.base import FusecastError, some_of


class TrainingError(FusecastError):
    """Training cannot start or go on."""

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
        return cls(
            "there is no window to train on\n"
            "Hint: shorten the horizon, or give less of the series to validation and test"
        )

    @classmethod
    def checkpoints_in_the_way(cls, folder: object, names: Sequence[str]) -> Self:
        return cls(
            f"folder {folder} already holds checkpoints: {some_of(names)}\n"
            "Hint: name a new folder, or resume from one of them"
        )

    @classmethod
    def folder_in_use(cls, folder: object) -> Self:
        return cls(
            f"another run is training into folder {folder}\nHint: wait until it has ended, or name a folder of its own"
        )

    @classmethod
    def other_data(cls) -> Self:
        return cls(
            "training cannot be resumed: the table is not the one that it began with\n"
            "Hint: resume with that table, or train anew in another folder"
        )

    @classmethod
    def unfit_checkpoint(cls, path: object, reason: str) -> Self:
        return cls(f"training cannot be resumed from {path}: {reason}")

    @classmethod
    def no_intact_checkpoint(cls, folder: object, reasons: Sequence[str]) -> Self:
        return cls(
            f"training cannot be resumed from {folder}: no checkpoint in it can be read: {'; '.join(reasons)}\n"
            "Hint: train anew in another folder"
        )

    @classmethod
    def nothing_to_resume(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} holds no run to resume\n"
            "Hint: name the folder of the run that stopped; without --resume a new run begins"
        )

    @classmethod
    def other_windows(cls, then: int, now: int) -> Self:
        return cls(
            f"training cannot be resumed: it had {then} windows to learn from, and there are {now} now\n"
            "Hint: resume with the same data, lookback, horizon and split"
        )

    @classmethod
    def not_fitted(cls) -> Self:
        return cls("there is no trained model yet\nHint: call `fit`, or load a saved one")
