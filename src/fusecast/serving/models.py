"""The models of a server by name; each is loaded anew when the files in its folder change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fusecast.data.schema import Kind, Role
from fusecast.errors import ArtifactError, FusecastError
from fusecast.features.calendar import PREFIX
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.model_bundle import CONFIG, FINAL, PREPROCESSOR
from fusecast.io.atomic import compute_checksum
from fusecast.io.documents import parse_json, read_bytes
from fusecast.model.batch import Batch, example_batch
from fusecast.runtime.device import torch_device
from fusecast.serving.batching import SharedPasses
from fusecast.serving.errors import RequestError
from fusecast.workflows.calibrate import stored_calibration
from fusecast.workflows.load import load_run

if TYPE_CHECKING:
    from fusecast.config import RunConfig
    from fusecast.inference.model_bundle import Bundle

log = logging.getLogger("fusecast.serving")
CARD = "model_card.json"
"""File of a bundle with what is known of the model."""
FILES = (CONFIG, PREPROCESSOR, CARD, "manifest.json")
"""Files of a bundle beside its weights."""
NO_SCORES = ("predictor", "target", "baseline")


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedModel:
    """A loaded bundle."""

    name: str
    bundle: Bundle = field(repr=False)
    config: RunConfig = field(repr=False)
    model_id: str  # digest of the bundle's config, which has the checksums of its other files
    created: str
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)  # the model card of an exported bundle

    def predictor(self) -> EnsemblePredictor:
        """Return what forecasts with the judged networks."""
        return EnsemblePredictor.from_bundle(self.bundle)

    def describe(self) -> dict[str, Any]:
        """Return what a client has to know to send tables, and to judge the forecasts."""
        schema, network = self.bundle.preprocessor.schema, self.bundle.config
        inputs = self.bundle.preprocessor.inputs
        columns: dict[str, list[str]] = {}
        for role in (Role.STATIC, Role.KNOWN, Role.OBSERVED):
            for kind in (Kind.REAL, Kind.CATEGORICAL):
                names = [column.name for column in schema.columns if (column.role, column.kind) == (role, kind)]
                columns[f"{role.value}_{kind.value}"] = names
        return {
            "name": self.name,
            "model_id": self.model_id,
            "created": self.created,
            "version": self.bundle.version,
            "schema": {
                "id": list(schema.id_names),
                "time": schema.time,
                "frequency": schema.frequency,
                "targets": list(schema.targets),
                **columns,
            },
            "calendar": [name.removeprefix(PREFIX) for name in inputs.future_names if name.startswith(PREFIX)],
            "lookback": network.lookback,
            "horizon": network.horizon,
            "quantiles": list(network.quantiles),
            "members": len(self.bundle.members),
            "calibrated": stored_calibration(self.bundle) is not None,
            **_describe_scores(self.card),
            "splits": self.card.get("splits"),
        }


def _describe_scores(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores in a model card, a row a forecaster, and the coverage of the intervals; None without them."""
    scores, coverage = card.get("scores"), card.get("coverage")
    rows = scores["rows"] if scores else []
    several = len({row["target"] for row in rows}) > 1
    accuracy = [
        {
            "model": f"{row['predictor']}, {row['target']}" if several else row["predictor"],
            **{name: value for name, value in row.items() if name not in NO_SCORES},
        }
        for row in rows
    ]
    shares: dict[str, list[float]] = {}
    for of_target in (coverage or {}).values():
        for level, share in of_target.items():
            shares.setdefault(level, []).append(share)
    return {
        "accuracy": accuracy or None,
        "coverage": {level: sum(values) / len(values) for level, values in shares.items()} or None,
    }


def _read_card(folder: Path) -> dict[str, Any]:
    """Return the model card of an exported bundle; an empty one for a run, which has none."""
    path = folder / CARD
    if not path.is_file():
        return {}
    try:
        card = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise ArtifactError.unreadable(path, str(error)) from None
    return card if isinstance(card, dict) else {}


def load_model(name: str, path: Path, device: str | None = None) -> ServedModel:
    """Load a bundle or the folder of a run onto a device, None for the best there is.

    Raise an ArtifactError as :func:`~fusecast.workflows.load.load_run`.
    """
    bundle, config = load_run(path)
    for part in (bundle, bundle.for_future):
        for member in part.members:
            network = member.network.to(torch_device(device))
            with torch.inference_mode():  # what is only built at the first pass must not take the time of a request
                network(Batch(*(tensor.to(torch_device(device)) for tensor in example_batch(network.config, 1))))
    file = path / CONFIG
    card, written = _read_card(path), datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return ServedModel(
        name=name,
        bundle=bundle,
        config=config,
        model_id=compute_checksum(file)[:16],
        created=str(card.get("created") or written.isoformat(timespec="seconds")),
        card=card,
    )


class Models:
    """The served models by name. The first one answers requests that name none."""

    def __init__(self, paths: Mapping[str, Path] | None = None, device: str | None = None) -> None:
        self.passes = SharedPasses()
        self.failures: dict[str, str] = {}  # by name, why a newer model could not be loaded
        self._device = device
        self._models: dict[str, ServedModel] = {}
        self._paths: dict[str, Path] = {}
        self._states: dict[str, object] = {}
        for name, path in (paths or {}).items():
            self.add(name, path)

    def add(self, name: str, path: Path) -> ServedModel:
        """Load a model and serve it by a name, in place of an earlier one; ArtifactError as :func:`load_model`.

        Requests that have begun go on with the earlier one.
        """
        state = _read_state(path)
        model = load_model(name, path, self._device)
        networks = {member.network for part in (model.bundle, model.bundle.for_future) for member in part.members}
        self.passes.attach(networks)
        self._models = {**self._models, name: model}  # replaced at once, so that no reader sees half of it
        self._paths[name], self._states[name] = path, state
        self.failures.pop(name, None)
        return model

    def refresh(self) -> None:
        """Load the models anew whose files have changed; one that cannot be loaded leaves the present one in place."""
        for name, path in list(self._paths.items()):
            state = _read_state(path)
            if state == self._states[name]:
                continue
            self._states[name] = state
            try:
                model = self.add(name, path)
                log.info("loaded", extra={"fields": {"model": name, "model_id": model.model_id}})
            except Exception as error:  # noqa: BLE001  the present model goes on, whatever is wrong with the new one
                self.failures[name] = str(error) if isinstance(error, FusecastError) else type(error).__name__
                log.error("not loaded", extra={"fields": {"model": name, "error": self.failures[name]}})

    def all(self) -> list[ServedModel]:
        """Return the models, the default first."""
        return list(self._models.values())

    def names(self) -> list[str]:
        """Return the names, the default first."""
        return list(self._models)

    def get(self, name: str | None = None) -> ServedModel:
        """Return a model by name, None for the default; raise a RequestError where there is none."""
        models = self._models
        if name is None and models:
            return next(iter(models.values()))
        if name is None or name not in models:
            raise RequestError.unknown_model(name, list(models))
        return models[name]


def _read_state(path: Path) -> object:
    """Return what changes when any file of a bundle is replaced: identity, size and time of each."""
    state = []
    for folder in (path, path / FINAL):
        with suppress(OSError):
            for file in sorted(folder.iterdir()):
                if file.name in FILES or file.suffix == ".safetensors":
                    status = file.stat()
                    state.append((file.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return state
