"""Export a run as a bundle: one folder with everything that a forecast needs, and none of the rows that trained it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fusecast.errors import ArtifactError, DataNote
from fusecast.errors.base import warn
from fusecast.export.model_card import CARD, CARD_VALUES, make_card, render_card, to_json
from fusecast.inference.manifest import EXPORTED, FORMAT, MANIFEST, is_exported, make_manifest, read_manifest
from fusecast.inference.model_bundle import bundle_contents
from fusecast.io.atomic import TEMPORARY_FILE, replace_files
from fusecast.workflows.evaluate import evaluate_run
from fusecast.workflows.fit import RUN_FILE

if TYPE_CHECKING:
    from fusecast.config import RunConfig
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.workflows.prepare import Prepared


def check_replaceable(folder: Path) -> None:
    """Raise an ArtifactError, before the work, where a folder is there and is no exported bundle.

    A folder with nothing in it, or with what a killed export left, is as good as none.
    """
    if is_exported(folder) or not folder.exists():
        return
    if not folder.is_dir() or any(not TEMPORARY_FILE.fullmatch(path.name) for path in _files(folder)):
        raise ArtifactError.no_bundle(folder)


def export_bundle(
    folder: Path,
    bundle: Bundle,
    config: RunConfig,
    read_table: Callable[[], tuple[Prepared, Bundle, EnsemblePredictor]] | None = None,
) -> Path:
    """Write a bundle into a folder, in place of an earlier one there, and return the folder.

    It holds the networks (all members, judged and final ones), their preprocessors, the configuration without the
    place of the table, calibration and blend, a model card, and a manifest of checksums. The card has the facts of the
    table that is read, and scores on its test rows; a note says so where there is none. All files are complete before
    they replace others. Raise an ArtifactError as :func:`check_replaceable`.
    """
    check_replaceable(folder)
    prepared, evaluation = None, None
    if read_table is None:
        warn(DataNote.of_facts(["the model card has no scores: there is no table to compute them on"]))
    else:
        prepared, _, predictor = read_table()
        if len(prepared.windows("test")):
            evaluation = evaluate_run(prepared, bundle, predictor)
    config = config.model_copy(update={"data": None, "query": None})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    card = make_card(bundle, prepared, evaluation, created=now)
    contents = bundle_contents(
        folder,
        bundle.members,
        bundle.preprocessor,
        {**bundle.extra, "run": config.to_dict(), EXPORTED: FORMAT},
        {RUN_FILE: config.to_yaml().encode(), CARD: render_card(card).encode(), CARD_VALUES: to_json(card).encode()},
        arrays=bundle.arrays,
        final=bundle.final,
    )
    files = {path.relative_to(folder).as_posix(): content for path, content in contents.items()}
    earlier = read_manifest(folder) if is_exported(folder) else {}
    contents[folder / MANIFEST] = make_manifest(files, {"created": now, "model_id": bundle.run_id})
    replace_files(contents)
    for name in earlier.keys() - files.keys():
        with suppress(OSError):  # it is of no bundle any more
            (folder / name).unlink()
    return folder


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]
