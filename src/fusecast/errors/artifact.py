from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from fusecast.errors.base import FusecastError, some_of


class ArtifactError(FusecastError):
    """A saved file is missing, foreign, truncated or unsafe."""

    @classmethod
    def unknown_ending(cls, path: object, endings: Sequence[str]) -> Self:
        return cls(f"{path} has no ending that says how to write it\nHint: end the name with {', '.join(endings)}")

    @classmethod
    def no_folder(cls, folder: object) -> Self:
        return cls(f"folder {folder} does not exist\nHint: make it first, or write elsewhere")

    @classmethod
    def not_a_folder(cls, path: object) -> Self:
        return cls(
            f"{path} is a file, and files cannot be written into it\nHint: name a folder, or one that is not there yet"
        )

    @classmethod
    def not_writable(cls, folder: object) -> Self:
        return cls(f"nothing can be written into folder {folder}\nHint: write elsewhere, or change who may write there")

    @classmethod
    def folder_in_the_way(cls, path: object) -> Self:
        return cls(f"{path} is a folder where a file is to be written\nHint: rename it, or write elsewhere")

    @classmethod
    def would_overwrite(cls, path: object) -> Self:
        return cls(f"{path} is a table that the results are made from, and would be overwritten\nHint: write elsewhere")

    @classmethod
    def run_in_the_way(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} already holds a run\n"
            "Hint: name a new folder with --out, go on with --resume, or remove this one"
        )

    @classmethod
    def no_run(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} holds a network and its preprocessor, but not how they were trained\n"
            "Hint: save with `Forecaster.save`, or use the bundle with `fusecast.inference.model_bundle.load_bundle`"
        )

    @classmethod
    def missing(cls, path: object, expected: str) -> Self:
        return cls(f"{path} does not exist\nHint: expected {expected}")

    @classmethod
    def unwritten(cls, path: object, reason: str) -> Self:
        return cls(
            f"{path} cannot be written: {reason}\n"
            "Hint: make room, or see that the folder can be written to; what was there before is whole"
        )

    @classmethod
    def refused_by_system(cls, path: object, reason: str) -> Self:
        return cls(f"{path}: {reason}\nHint: see that it is where it should be, may be written, and has room")

    @classmethod
    def unreadable(cls, path: object, reason: str) -> Self:
        return cls(
            f"{path} cannot be read: {reason}\n"
            "Hint: it is truncated or no file of fusecast; copy it again, or take an earlier one"
        )

    @classmethod
    def unsafe(cls, path: object, what: str) -> UnsafeArtifactError:
        return UnsafeArtifactError(
            f"{path} is refused: it holds {what}, which loading would have to execute; nothing in it was executed\n"
            "Hint: a checkpoint of fusecast holds tensors and plain values only; do not load this file by other means "
            "unless you trust whoever made it"
        )

    @classmethod
    def newer(cls, path: object, version: object, known: int) -> Self:
        return cls(
            f"{path} has format {version!r}, and this fusecast knows formats up to {known}\nHint: update fusecast"
        )

    @classmethod
    def wrong_tensors(
        cls, path: object, missing: Collection[str], unexpected: Collection[str], shapes: Collection[str]
    ) -> Self:
        parts = [
            f"{kind} {some_of(sorted(names))}"
            for kind, names in (("missing:", missing), ("unexpected:", unexpected), ("of another shape:", shapes))
            if names
        ]
        return cls(f"{path} does not hold the weights of the network that is described beside it; " + "; ".join(parts))

    @classmethod
    def other_network(cls, path: object, expected: str, reason: str) -> Self:
        return cls(f"{path} is no checkpoint of a {expected}: {reason}")

    @classmethod
    def not_a_preprocessor(cls, reason: str) -> Self:
        return cls(f"this is no preprocessor saved by fusecast: {reason}")

    @classmethod
    def export_first(cls, refused: str) -> Self:
        return cls(
            f"{refused}\n"
            "Hint: where it was made, save its state dict alone: torch.save(checkpoint['state_dict'], 'weights.pth'); "
            "docs/migrate.md shows it for NVIDIA's and pytorch-forecasting's checkpoints"
        )

    @classmethod
    def no_weights(cls, path: object, places: Sequence[str]) -> Self:
        return cls(f"{path} holds no tensors, neither at its top nor under {', '.join(places)}")

    @classmethod
    def same_name_twice(cls, path: object, name: str) -> Self:
        return cls(
            f"{path} holds {name!r} twice, with different prefixes\nHint: save the state dict of one network only"
        )

    @classmethod
    def lacks_tensor(cls, path: object, name: str) -> Self:
        return cls(
            f"{path} lacks tensor {name!r}, from which a size of the network follows\n"
            "Hint: describe the whole network with --config, or name another kind of file with --from"
        )

    @classmethod
    def unknown_weights(cls, path: object, names: Collection[str]) -> Self:
        return cls(
            f"{path} holds weights of no network that is known here; its tensors are {some_of(names)}\n"
            "Hint: known are those of fusecast, of NVIDIA's DeepLearningExamples and of pytorch-forecasting; "
            "say which with --from"
        )

    @classmethod
    def partial_match(
        cls, path: object, missing: Collection[str], unexpected: Collection[str], shapes: Collection[str]
    ) -> Self:
        parts = [
            f"{kind} {some_of(names)}"
            for kind, names in (("missing:", missing), ("unexpected:", unexpected), ("of another shape:", shapes))
            if names
        ]
        return cls(
            f"{path} does not match the network; {'; '.join(parts)}\n"
            "Hint: --partial takes what matches, and leaves the rest of the network untrained"
        )

    @classmethod
    def cannot_reproduce(cls, path: object, reason: str) -> Self:
        return cls(
            f"{path} holds a network whose forecasts cannot be reproduced here: {reason}\n"
            "Hint: docs/migrate.md lists what can be; train anew, or keep using the library that made it"
        )

    @classmethod
    def hyper_parameters_needed(cls, path: object, names: Sequence[str]) -> Self:
        return cls(
            f"{path} does not say {', '.join(names)}, without which its tensors have no meaning\n"
            "Hint: export the hyper-parameters as docs/migrate.md shows, and give that file with --config"
        )

    @classmethod
    def other_parts(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} holds parts of another backtest: other data, another model or other options\n"
            "Hint: remove it if that backtest is not to be gone on with, or name another file with --out"
        )


class UnsafeArtifactError(ArtifactError):
    """A saved file holds what loading would have to execute."""


@contextmanager
def os_errors_as_messages() -> Iterator[None]:
    """Say in words what the system refuses: a folder that may not be written, a full disk.

    Raises
    ------
    ArtifactError
        In place of an OSError that names a file.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        raise ArtifactError.refused_by_system(error.filename, error.strerror) from error
