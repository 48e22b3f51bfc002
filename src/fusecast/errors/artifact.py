from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from fusecast.errors.base import FusecastError, some_of


class ArtifactError(FusecastError):
    """A saved file is missing, truncated, unsafe, or of another program."""

    @classmethod
    def unknown_ending(cls, path: object, endings: Sequence[str]) -> Self:
        return cls(f"the ending of {path} is none of a supported format\nHint: use one of {', '.join(endings)}")

    @classmethod
    def cannot_write(cls, path: object, problem: str, hint: str = "write elsewhere") -> Self:
        return cls(f"{path} {problem}\nHint: {hint}")

    @classmethod
    def read_only_folder(cls, folder: object) -> Self:
        return cls.cannot_write(
            folder, "is a folder that cannot be written into", "write elsewhere, or change its permissions"
        )

    @classmethod
    def run_exists(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} already holds a run\n"
            "Hint: continue with --resume, or choose another with --out, as for a model of newer rows"
        )

    @classmethod
    def exported(cls, folder: object) -> Self:
        return cls(
            f"folder {folder} is an exported bundle, which nothing else is written into\n"
            "Hint: change the run that it was exported from, and export again; or choose another folder"
        )

    @classmethod
    def no_bundle(cls, folder: object) -> Self:
        return cls(
            f"{folder} exists already, and is no exported bundle\n"
            "Hint: export to a new folder, or to an earlier bundle, which is replaced"
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
            "Hint: free disk space, or check the permissions of the file and its folder; the earlier content is intact"
        )

    @classmethod
    def refused_by_system(cls, path: object, reason: str) -> Self:
        return cls(f"{path}: {reason}\nHint: check that it exists, its permissions, and the free disk space")

    @classmethod
    def unreadable(cls, path: object, reason: str) -> Self:
        return cls(
            f"{path} cannot be read: {reason}\n"
            "Hint: it is truncated, damaged or no file of fusecast; copy it again, or use an earlier one"
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
        cls,
        path: object,
        missing: Collection[str],
        unexpected: Collection[str],
        shapes: Collection[str],
        hint: str = "copy it again, with the configuration that it was saved with",
    ) -> Self:
        kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
        mismatches = "; ".join(f"{kind}: {some_of(sorted(names))}" for kind, names in kinds.items() if names)
        return cls(f"{path} does not match the network; {mismatches}\nHint: {hint}")

    @classmethod
    def fewer_weights(cls, path: object, numbers: int, needed: int) -> Self:
        return cls(
            f"{path} holds {numbers:,} numbers, and a network of the sizes stated with it has at least {needed:,}\n"
            "Hint: it is damaged; copy it again, with the configuration that it was saved with"
        )

    @classmethod
    def not_finite(cls, path: object, names: Collection[str]) -> Self:
        return cls(
            f"{path} holds weights that are NaN or infinite: {some_of(names)}\n"
            "Hint: use an earlier file, or train again with a lower learning rate"
        )

    @classmethod
    def other_network(cls, path: object, expected: str, reason: str) -> Self:
        return cls(
            f"{path} is not a checkpoint of a {expected}: {reason}\n"
            f"Hint: load it with the class that wrote it; `fusecast migrate {path}` shows whether it can be converted"
        )

    @classmethod
    def is_folder(cls, path: object, names: Sequence[str]) -> Self:
        holds = f"it holds {some_of(names)}" if names else "it holds no checkpoint"
        return cls(f"{path} is a folder, not a checkpoint file\nHint: {holds}")

    @classmethod
    def convert_first(cls, path: object) -> Self:
        return cls(
            f"{path} is no checkpoint of a module: it does not hold the sizes of the network (hyper_parameters)\n"
            f"Hint: `fusecast migrate {path} --to converted.ckpt` makes a checkpoint of it; "
            "or pass its tensors to `load_state_dict` of a module of the same sizes"
        )

    @classmethod
    def export_first(cls, refused: str) -> Self:
        return cls(
            f"{refused}\n"
            "Hint: save its state dict alone, with the library it is from: "
            "torch.save(checkpoint['state_dict'], 'weights.pth'); "
            "docs/migrate.md shows this for the checkpoints of NVIDIA and of pytorch-forecasting"
        )

    @classmethod
    def no_weights(cls, path: object, keys: Sequence[str]) -> Self:
        return cls(f"{path} holds no tensors, neither at its top level nor under {', '.join(keys)}")

    @classmethod
    def same_name_twice(cls, path: object, name: str) -> Self:
        return cls(f"{path} holds {name!r} twice, with different prefixes\nHint: save the state dict of one network")

    @classmethod
    def no_match(cls, kind: str, names: Collection[object], expected: Collection[str]) -> Self:
        found = f"its names are {some_of(names)}" if names else "it is empty"
        return cls(
            f"no tensor of the state dict belongs to this {kind}: {found}, and expected are such as "
            f"{some_of(expected, 2)}\n"
            "Hint: of a checkpoint, pass checkpoint['state_dict']; weights of other libraries are converted by "
            "`fusecast migrate`"
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

    @classmethod
    def other_forecasts_in_onnx(cls, path: object, difference: float, allowed: float) -> Self:
        return cls(
            f"{path} is not written: ONNX Runtime forecasts otherwise than fusecast, by {difference:.1e} of the scale, "
            f"and {allowed:.0e} is allowed\nHint: update onnxruntime, and please report this"
        )

    @classmethod
    def inside_input(cls, folder: object, source: object) -> Self:
        return cls.cannot_write(folder, f"lies in {source}, which these results are computed from")

    @classmethod
    def not_forecasts(cls, path: object) -> Self:
        return cls(
            f"{path} is no intact table of forecasts that this command wrote, and the forecasts would mix with it\n"
            "Hint: remove it, or choose another folder with --out"
        )

    @classmethod
    def other_forecasts(cls, path: object, difference: str) -> Self:
        return cls(
            f"{path} holds forecasts {difference}, and the new ones would mix with them\n"
            "Hint: choose another folder with --out, or remove the old forecasts"
        )


class UnsafeArtifactError(ArtifactError):
    """A saved file holds code that loading would have to execute."""


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def translate_os_errors(place: object = "the output") -> Iterator[None]:
    """Raise an ArtifactError with a hint in place of an OSError that names a file, or of a full disk and the like.

    `place` is named where the OSError names no file. Where it was raised while a FusecastError was handled, that is
    raised again.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error.__context__, FusecastError):
            raise error.__context__ from None
        if error.strerror is None or (error.filename is None and error.errno not in DISK_ERRORS):
            raise
        name = error.filename.decode() if isinstance(error.filename, bytes) else error.filename or place
        raise ArtifactError.refused_by_system(name, error.strerror) from error
