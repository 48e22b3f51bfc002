"""Estimator: the parameters of a forecaster, read and set as those of scikit-learn's estimators are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fusecast.config import RunConfig
from fusecast.display.card import build_card, list_names
from fusecast.errors import ConfigError

if TYPE_CHECKING:
    from fusecast.inference.model_bundle import Bundle
    from fusecast.training.fit import FitResult
    from fusecast.workflows.prepare import Prepared

SECTIONS = ("network", "features", "split", "training")
TABLE = (
    *("id", "time", "target", "static", "known", "observed", "categorical", "weight", "frequency", "time_zone"),
    *("future_rows", "streaming"),
)
OTHERS = ("horizon", "lookback", "time_budget", "calibration", "blend")


class Estimator:
    """Holds the parameters of the constructor, what they configure, and what a fit has made of it."""

    config: RunConfig
    result: FitResult | None
    folder: Path | None
    _params: dict[str, Any]
    _requested_config: RunConfig
    _prepared: Prepared | None
    _bundle: Bundle | None
    _source: Any

    def _reset(self, params: Mapping[str, Any]) -> None:
        """Take the parameters of the constructor, and forget everything that others have led to."""
        self._params = dict(params)
        self.config = self._requested_config = configure(params)  # the latter before a table resolved id and frequency
        self._prepared = self._bundle = self._source = None
        self.result = None  # outcome of training; None before `fit` and after `load`
        self.folder = None  # where the model was saved or loaded from last

    @classmethod
    def from_config(cls, config: RunConfig) -> Self:
        """Return an unfitted forecaster with a run's configuration."""
        forecaster = cls(**collect_parameters(config))
        forecaster.config = forecaster._requested_config = config
        return forecaster

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the constructor by name, as scikit-learn's estimators do.

        With `deep` the single options of the sections are there too, under ``section__option``, such as
        ``training__max_steps``.
        """
        if not deep:
            return dict(self._params)
        sections = {name: getattr(self._requested_config, name) for name in SECTIONS}
        options = {f"{name}__{key}": value for name, section in sections.items() for key, value in section}
        return {**self._params, **options}

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the constructor, or single options of the sections (``training__max_steps=500``).

        A fitted forecaster whose options change is not fitted any more: it forgets the model, which had others, and
        the table. A model that was saved stays in its folder. Raises ConfigError for an unknown parameter or a wrong
        value, and then changes nothing.
        """
        known = self.get_params()
        changed = dict(self._params)
        nested: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            section, _, option = name.partition("__")
            if name not in known:
                raise ConfigError.unknown("parameter", name, known)
            if option:
                nested.setdefault(section, {})[option] = value
            else:
                changed[name] = value
        for section, options in nested.items():
            changed[section] = {**(changed[section] or {}), **options}
        before, config = self._requested_config, configure(changed)
        config = config.model_copy(update={"data": before.data, "query": before.query})
        if config == before:
            self._params = changed
        else:
            self._reset(changed)
            self.config = self._requested_config = config
        return self

    def __repr__(self) -> str:
        state = f"fitted, folder={self.folder and str(self.folder)!r}" if self._bundle else "not fitted"
        return f"{type(self).__name__}(horizon={self.config.horizon}, lookback={self.config.lookback}, {state})"

    def _repr_html_(self) -> str:
        config, bundle, result = self.config, self._bundle, self.result
        roles = {name: getattr(config.table, name) for name in ("target", "static", "known", "observed")}
        facts: dict[str, object] = {
            "horizon": f"{config.horizon:,} steps",
            "lookback": "chosen from the table" if config.lookback is None else f"{config.lookback:,} steps",
            **{name: list_names(names) for name, names in roles.items()},
        }
        if self._prepared is not None:
            panel = self._prepared.panel
            facts["table"] = f"{panel.num_series:,} series, {panel.num_rows:,} rows, step {panel.schema.frequency}"
        if bundle is not None:
            from fusecast.workflows.calibrate import stored_calibration

            facts["networks"] = len(bundle.members)
            facts["validation loss"] = None if result is None else result.best_loss
            conformal = stored_calibration(bundle)
            facts["calibration"] = "none" if conformal is None else conformal.method
            facts["folder"] = self.folder
        return build_card(f"Forecaster, {'fitted' if bundle is not None else 'not fitted'}", facts)


def configure(params: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of parameters; ConfigError for wrong ones."""
    values = {name: params[name] for name in OTHERS} | {"table": {name: params[name] for name in TABLE}}
    return RunConfig.parse(values | {name: params[name] or {} for name in SECTIONS})


def collect_parameters(config: RunConfig) -> dict[str, Any]:
    """Return the parameters that lead to a configuration, without its table."""
    values = {name: getattr(config, name) for name in OTHERS} | dict(config.table)
    return values | {name: dict(getattr(config, name)) for name in SECTIONS}
