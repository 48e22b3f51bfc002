"""Which checkpoint of a folder to go on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fusecast.errors import ArtifactError, TrainingError
from fusecast.errors.artifact import UnsafeArtifactError
from fusecast.training.checkpoint import load_checkpoint
from fusecast.training.last import LAST


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


def intact_or_before(path: Path) -> Newest:
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
