"""Forecaster: the face of the library. It wires the layers together and holds no logic of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fusecast.asking import Asking
from fusecast.config import RunConfig
from fusecast.errors import ArtifactError, ConfigError, TrainingError
from fusecast.judging import Judging
from fusecast.workflows.prepare import Prepared, prepare, prepare_for_model

if TYPE_CHECKING:
    from fusecast.data.panel import Panel
    from fusecast.evaluation.evaluate import Evaluation
    from fusecast.inference.model_bundle import Bundle
    from fusecast.inference.network_predictor import NetworkPredictor
    from fusecast.training.fit import FitResult
    from fusecast.workflows.evaluate import Progress

RUN_FILE = "run.yaml"


class Forecaster(Asking, Judging):
    """Train, judge, explain and keep a Temporal Fusion Transformer for a table of time series.

    Parameters
    ----------
    horizon, lookback
        Steps to forecast, and steps of history that the network sees.
    id, time, target
        Columns that name the series, the time and what to forecast. A table without the default id column is one
        series; several targets are given as a list.
    static, known, observed
        Columns with one value a series; known in the future too; known up to the present only.
    categorical
        Which of these are categories although they are numbers. Text and booleans always are.
    frequency
        Length of a step, such as ``"30m"``, ``"1h"``, ``"1d"``, ``"1mo"`` or ``"1i"``; inferred when None.
    time_zone
        Zone in which times are read, such as ``"Europe/Berlin"``; None is that of the column, if it has one.
    network, features, split, training
        The other sections of a run's YAML file, as mappings; see ``RunConfig``.

    Examples
    --------
    >>> forecaster = Forecaster(horizon=24, lookback=168, known=["holiday"])  # doctest: +SKIP
    >>> forecaster.fit(table).predict(future)  # doctest: +SKIP
    """

    def __init__(
        self,
        horizon: int,
        lookback: int,
        *,
        id: str | None = "unique_id",  # noqa: A002  the name of the option everywhere
        time: str = "ds",
        target: str | Sequence[str] = "y",
        static: Sequence[str] = (),
        known: Sequence[str] = (),
        observed: Sequence[str] = (),
        categorical: Sequence[str] = (),
        frequency: str | None = None,
        time_zone: str | None = None,
        network: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
        split: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        table = {"id": id, "time": time, "target": target, "static": static, "known": known, "observed": observed}
        self.config = RunConfig.parse(
            {
                "horizon": horizon,
                "lookback": lookback,
                "table": {**table, "categorical": categorical, "frequency": frequency, "time_zone": time_zone},
                "network": network or {},
                "features": features or {},
                "split": split or {},
                "training": training or {},
            }
        )
        self._asked = self.config  # as it was before a table had its say
        self._prepared: Prepared | None = None
        self._bundle: Bundle | None = None
        self._source: Any = None
        self.result: FitResult | None = None
        """What training came to; None before `fit` and after `load`."""
        self.folder: Path | None = None
        """Where the model was saved or loaded from last."""

    @classmethod
    def from_config(cls, config: RunConfig) -> Self:
        """Make a forecaster from a run's configuration."""
        forecaster = cls(config.horizon, config.lookback)
        forecaster.config = forecaster._asked = config
        return forecaster

    def prepare(self, data: Any = None) -> Prepared:
        """Read, check and split a table without training; `fit` goes on from here.

        Raises
        ------
        SchemaError, DataError, ConfigError
            In words: every unknown column, impossible size or contradiction.
        """
        source = self.config.data if data is None else data
        if source is None:
            raise ConfigError.no_data()
        if isinstance(source, str | Path):
            source = Path(source).resolve()  # the run is read from other folders too
        asked = self._asked.model_copy(update={"data": str(source) if isinstance(source, Path) else None})
        self._source = source
        self._prepared = prepare(source, asked)  # not as an earlier table resolved it: this one may have other steps
        self.config = self._prepared.config
        return self._prepared

    def fit(self, data: Any = None, *, folder: str | Path | None = None, resume: bool = False) -> Self:
        """Train on a table: a path, or a pandas, polars or Arrow frame.

        Parameters
        ----------
        data
            The table; None goes on from `prepare`, or reads the path in the configuration.
        folder
            Where checkpoints, logs and the history go, and the trained model is saved; None keeps nothing on disk.
        resume
            Go on from the newest intact checkpoint in `folder`, exactly where that run stopped.

        Raises
        ------
        SchemaError, DataError, ConfigError, TrainingError
            In words, naming column, series and row.
        """
        from fusecast.data.splits import record_split
        from fusecast.inference.model_bundle import Bundle
        from fusecast.runtime.distributed import is_first_process
        from fusecast.training.fit import fit
        from fusecast.training.unknown_categories import settle_unknown_categories

        prepared = self._prepared if data is None and self._prepared is not None else self.prepare(data)
        with tempfile.TemporaryDirectory() as scratch:
            result = fit(
                model_config=prepared.model_config,
                training_config=prepared.config.training,
                encoded=prepared.encoded,
                train=prepared.train,
                valid=prepared.valid,
                folder=Path(folder or scratch),
                resume=Path(folder or scratch) / "checkpoints" if resume else None,
                on_start=lambda: self.config.write(Path(folder or scratch) / RUN_FILE),
            )
        settle_unknown_categories(result.network, prepared.encoded, prepared.train)
        self.result = result
        extra = {"run": self.config.to_dict(), "split": record_split(prepared.panel, prepared.parts)}
        self._bundle = Bundle(network=result.network, fitted=prepared.fitted, extra=extra)
        if folder is not None and is_first_process():
            self.save(folder)
        return self

    def save(self, folder: str | Path) -> Path:
        """Write the deployable bundle and the run's YAML file into a folder.

        Raises
        ------
        TrainingError
            Before `fit`.
        """
        from fusecast.inference.model_bundle import save_bundle

        folder, bundle = Path(folder), self._fitted
        save_bundle(folder, bundle.network, bundle.fitted, bundle.extra)
        self.config.write(folder / RUN_FILE)
        self.folder = folder
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote; the three files of the bundle are enough.

        Raises
        ------
        ArtifactError
            When a file is missing, truncated, foreign or from a newer fusecast.
        """
        from fusecast.inference.model_bundle import load_bundle

        bundle = load_bundle(Path(folder))
        if not {"run", "split"} <= bundle.extra.keys():
            raise ArtifactError.no_run(folder)
        forecaster = cls.from_config(RunConfig.parse(bundle.extra["run"]))
        forecaster._bundle, forecaster.folder = bundle, Path(folder)  # noqa: SLF001  our own
        return forecaster

    def predict(
        self,
        future: Any = None,
        *,
        data: Any = None,
        quantiles: Sequence[float] | None = None,
        calibrated: bool = False,
    ) -> Any:
        """Forecast the steps after each series' last row.

        Parameters
        ----------
        future
            Table of the known columns for the steps to forecast; None where the calendar gives all that is known.
        data
            A newer table to forecast from; None is the table of the fit.
        quantiles
            Any levels; None gives those of the training. A head with a distribution has its own quantiles at each;
            those of a quantile head (and calibrated ones) lie on straight lines, and beyond them on exponential tails.
        calibrated
            Whether the quantiles are shifted as `calibrate` has learned.

        Returns
        -------
        A frame of the kind given: id, time, ``y_hat`` and one column a quantile.

        Raises
        ------
        DataError
            When a known value is missing, or the table breaks the schema.
        ConfigError
            For levels that do not rise, and where there is no calibration.
        """
        from fusecast.io.tables import like
        from fusecast.workflows.predict import forecast_ahead

        extended, forecasts = forecast_ahead(
            self._on(data), self._fitted, self.predictor, future, quantiles=quantiles, calibrated=calibrated
        )
        return like(self._source if data is None else data, forecasts.to_frame(extended))

    def evaluate(
        self, *, data: Any = None, stride: int | None = None, on_progress: Progress | None = None
    ) -> Evaluation:
        """Judge the forecasts of the test span beside the last value and seasonal naive forecasts.

        Parameters
        ----------
        data
            A table that has grown since the fit: all after the start of the test span is judged.
        stride
            Steps between cutoffs; None is the horizon, so that each step of the span is forecast once.
        on_progress
            Called with the windows judged so far and those there are.
        """
        from fusecast.workflows.evaluate import evaluate_run

        return evaluate_run(self._on(data), self.predictor, stride=stride, on_progress=on_progress)

    @property
    def prepared(self) -> Prepared:
        """The panel of the fit, its split and the windows."""
        return self._on(None)

    @property
    def predictor(self) -> NetworkPredictor:
        """The trained network as a predictor of windows."""
        from fusecast.inference.network_predictor import NetworkPredictor

        return NetworkPredictor(self._fitted.network, self._fitted.fitted)

    @property
    def _fitted(self) -> Bundle:
        if self._bundle is None:
            raise TrainingError.not_fitted()
        return self._bundle

    def _panel(self, data: Any) -> Panel:
        return self._on(data).panel

    def _on(self, data: Any) -> Prepared:
        """Give the checked panel of a table (None: of the fit) with the preprocessor and the split of the fit."""
        if data is None and self._prepared is not None:
            return self._prepared
        bundle = self._fitted
        source = self.config.data if data is None else data
        if source is None:
            raise ConfigError.no_data()
        prepared = prepare_for_model(source, self.config, bundle.fitted, bundle.extra["split"])
        if data is None:
            self._prepared, self._source = prepared, source
        return prepared
