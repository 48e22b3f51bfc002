from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Self

from fusecast.errors.base import FusecastError, some_of


class ArtifactError(FusecastError):
    """A saved file is missing, truncated, unsafe, or of another program."""

    @classmethod
    def unknown_ending(cls, path: object, endings: Sequence[str]) -> Self:
        return cls(f"the ending of {path} is none of a supported format\nHint: use one of {', '.join(endings)}")

    @classmethod
    def no_folder(cls, folder: object) -> Self:
        return cls(f"folder {folder} does not exist\nHint: create it first, or write elsewhere")

    @classmethod
    def not_a_folder(cls, path: object) -> Self:
        return cls(
            f"{path} is a file, and no files can be written into it\nHint: choose an existing folder, or a new name"
        )

    @classmethod
    def not_writable(cls, folder: object) -> Self:
        return cls(f"nothing can be written into folder {folder}\nHint: write elsewhere, or change its permissions")

    @classmethod
    def is_a_folder(cls, path: object) -> Self:
        return cls(f"{path} is a folder where a file is to be written\nHint: rename it, or write elsewhere")

    @classmethod
    def would_overwrite(cls, path: object) -> Self:
        return cls(f"{path} is an input of these results, and would be overwritten\nHint: write elsewhere")

    @classmethod
    def run_exists(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} already holds a run\n"
            "Hint: choose a new folder with --out, continue with --resume, or remove this one"
        )

    @classmethod
    def no_run(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} holds a network and its preprocessor, but not the configuration of their training\n"
            "Hint: save with `Forecaster.save`, or use the bundle with `fusecast.inference.model_bundle.load_bundle`"
        )

    @classmethod
    def missing(cls, path: object, expected: str) -> Self:
        return cls(f"{path} does not exist\nHint: expected {expected}")

    @classmethod
    def write_failed(cls, path: object, reason: str) -> Self:
        return cls(
            f"{path} cannot be written: {reason}\n"
            "Hint: free disk space, or check the permissions of the folder; the earlier content is intact"
        )

    @classmethod
    def refused_by_system(cls, path: object, reason: str) -> Self:
        return cls(f"{path}: {reason}\nHint: check that it exists, its permissions, and the free disk space")

    @classmethod
    def unreadable(cls, path: object, reason: str) -> Self:
        return cls(
            f"{path} cannot be read: {reason}\n"
            "Hint: it is truncated or no file of fusecast; copy it again, or use an earlier one"
        )

    @classmethod
    def unsafe(cls, path: object, what: str) -> UnsafeArtifactError:
        return UnsafeArtifactError(
            f"{path} is refused: it holds {what}, which loading would have to execute; nothing in it was executed\n"
            "Hint: a checkpoint of fusecast holds tensors and plain values only; do not load this file by other means "
            "unless you trust its source"
        )

    @classmethod
    def newer(cls, path: object, version: object, known: int) -> Self:
        return cls(
            f"{path} has format {version!r}, and this version of fusecast reads formats up to {known}\n"
            "Hint: update fusecast"
        )

    @classmethod
    def wrong_tensors(
        cls, path: object, missing: Collection[str], unexpected: Collection[str], shapes: Collection[str]
    ) -> Self:
        mismatches = _list_mismatches(sorted(missing), sorted(unexpected), sorted(shapes))
        return cls(f"{path} does not match the network described in its folder; {mismatches}")

    @classmethod
    def other_network(cls, path: object, expected: str, reason: str) -> Self:
        return cls(f"{path} is not a checkpoint of a {expected}: {reason}")

    @classmethod
    def not_a_preprocessor(cls, reason: str) -> Self:
        return cls(f"this is no preprocessor saved by fusecast: {reason}")

    @classmethod
    def export_first(cls, refused: str) -> Self:
        return cls(
            f"{refused}\n"
            "Hint: save its state dict alone, with the library it is from: "
            "torch.save(checkpoint['state_dict'], 'weights.pth'); "
            "docs/migrate.md shows this for the checkpoints of NVIDIA and of pytorch-forecasting"
        )

    @classmethod
    def no_weights(cls, path: object, places: Sequence[str]) -> Self:
        return cls(f"{path} holds no tensors, neither at its top level nor under {', '.join(places)}")

    @classmethod
    def same_name_twice(cls, path: object, name: str) -> Self:
        return cls(
            f"{path} holds {name!r} twice, with different prefixes\nHint: save the state dict of one network only"
        )

    @classmethod
    def lacks_tensor(cls, path: object, name: str) -> Self:
        return cls(
            f"{path} lacks tensor {name!r}, from which a size of the network is inferred\n"
            "Hint: describe the whole network with --config, or set another kind of file with --from"
        )

    @classmethod
    def unknown_weights(cls, path: object, names: Collection[str]) -> Self:
        return cls(
            f"{path} holds the weights of an unknown network; its tensors are {some_of(names)}\n"
            "Hint: supported are those of fusecast, of NVIDIA's DeepLearningExamples and of pytorch-forecasting; "
            "choose one with --from"
        )

    @classmethod
    def partial_match(
        cls, path: object, missing: Collection[str], unexpected: Collection[str], shapes: Collection[str]
    ) -> Self:
        return cls(
            f"{path} does not match the network; {_list_mismatches(missing, unexpected, shapes)}\n"
            "Hint: --partial loads what matches, and leaves the rest of the network untrained"
        )

    @classmethod
    def cannot_reproduce(cls, path: object, reason: str) -> Self:
        return cls(
            f"{path} holds a network whose forecasts cannot be reproduced here: {reason}\n"
            "Hint: docs/migrate.md lists what is supported; train a new network, or keep using the library it is from"
        )

    @classmethod
    def hyper_parameters_needed(cls, path: object, names: Sequence[str]) -> Self:
        return cls(
            f"{path} lacks {', '.join(names)}, without which its tensors cannot be interpreted\n"
            "Hint: export the hyper-parameters as docs/migrate.md shows, and pass that file with --config"
        )

    @classmethod
    def other_backtest(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} holds part files of another backtest, with other data, another model or other options\n"
            "Hint: remove it if that backtest is not to be continued, or choose another file with --out"
        )


class UnsafeArtifactError(ArtifactError):
    """A saved file holds code that loading would have to execute."""


def _list_mismatches(missing: Collection[str], unexpected: Collection[str], shapes: Collection[str]) -> str:
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return "; ".join(f"{kind}: {some_of(names)}" for kind, names in kinds if names)
