"""Forecaster: the public class. Every verb delegates to the module of `fusecast.workflows` that is named after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, cast

from typing_extensions import TypeVar

from fusecast.config import BlendMethod, Calibration, FutureRows
from fusecast.errors import ConfigError, TrainingError
from fusecast.estimator import Estimator

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch
    from narwhals.typing import IntoDataFrame
    from pytorch_lightning.loggers import Logger

    from fusecast.calibration.conformal import Conformal
    from fusecast.display.plottable import Engine
    from fusecast.evaluation.backtest.results import Backtest
    from fusecast.evaluation.evaluate import Evaluation, ProgressCallback
    from fusecast.explain.single_forecast import ForecastExplanation
    from fusecast.export.onnx.export import OnnxExport
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.io.tables import TableLike
    from fusecast.reporting.explanation_report import ExplanationReport
    from fusecast.workflows.prepare import Prepared, SplitName
    from fusecast.workflows.what_if import Change

    Device = str | torch.device | None
    OtherT = TypeVar("OtherT", bound=IntoDataFrame)

FrameT = TypeVar("FrameT", default=Any)  # the kind of frame of results: that of the table of the fit


class Forecaster(Estimator, Generic[FrameT]):
    """Train, evaluate, explain and keep a Temporal Fusion Transformer for a table of time series.

    A table is a path (CSV, Parquet, Arrow), the address of an object in a store, a :class:`fusecast.Query` of a
    database, or a pandas, polars or Arrow frame; results come in the kind of the table.
    Verbs after `fit` or `load` share arguments: ``data``, a newer table with the columns of the fit (None for
    the table of the fit); ``future``, the known columns of the steps to forecast (None where they are in the last rows
    of the table, without a target, or the calendar is all that is known); ``partial``, whether known values that are
    not there are masked, whole rows and columns too; ``raw``, whether quantiles are those of the networks alone,
    without the calibration (scores show them beside as ``TFT raw``); ``device``, where the network computes (``cpu``,
    ``cuda``, ``cuda:1``, ``mps``; None for the best there is), while that of the forecaster itself stays where it is.
    ``series`` is an id or several (with two id columns ``("a", 3)`` or ``"a,3"``), None for all; ``on_progress`` is
    called with the windows done and their total. These verbs raise a TrainingError without a model, a SchemaError or
    DataError where a table contradicts the schema, and a ConfigError for a device that is not there.

    Parameters
    ----------
    horizon, lookback
        Steps to forecast, and steps of history that the network reads (None: chosen from the table).
    id, time, target
        Columns of the series, the time and the values to forecast; lists for several. Without `unique_id`: one series.
    static, known, observed, categorical
        Columns with one value a series; known in the future too; known up to the present only; and which of these are
        categories although they are numbers (text and booleans always are).
    weight
        Column of how much each row counts in the losses of training and validation; 0 leaves it out of both.
    frequency, time_zone
        Length of a step, such as ``"30m"``, ``"1h"``, ``"1mo"`` or ``"1i"``, inferred when None; and the zone in which
        times are read, such as ``"Europe/Berlin"``, None for that of the column, if it has one.
    future_rows
        Rows that are the steps to forecast: ``auto`` those after the last target of all series, ``each``, or ``none``.
    streaming
        Whether a Parquet file or folder is read in pieces, and its numbers stay on disk; None by its size.
    time_budget, calibration, blend, network, features, split, training
        The other options of a run, sections as mappings; see :class:`fusecast.RunConfig`.
    """

    def __init__(
        self,
        horizon: int,
        lookback: int | None = None,
        *,
        id: str | Sequence[str] | None = "unique_id",  # noqa: A002  the name of the option everywhere
        time: str = "ds",
        target: str | Sequence[str] = "y",
        static: Sequence[str] = (),
        known: Sequence[str] = (),
        observed: Sequence[str] = (),
        categorical: Sequence[str] = (),
        weight: str | None = None,
        frequency: str | None = None,
        time_zone: str | None = None,
        future_rows: FutureRows = "auto",
        streaming: bool | None = None,
        time_budget: str | None = None,
        blend: BlendMethod = "auto",
        network: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
        split: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        calibration: Calibration = "auto",
    ) -> None:
        self._reset({name: value for name, value in locals().items() if name != "self"})

    def prepare(self, data: TableLike | None = None) -> Prepared:
        """Read, check and split a table without training; `fit` continues from here and raises the same errors."""
        from fusecast.io.sources import locate, record_source
        from fusecast.workflows.prepare import prepare

        source = locate(self._require_source(data))
        config = self._requested_config.model_copy(update=record_source(source))
        self._source, self._prepared = source, prepare(source, config)  # not with an earlier table's id and frequency
        self.config = self._prepared.config
        return self._prepared

    def fit(
        self,
        data: OtherT | TableLike | None = None,
        *,
        folder: str | Path | None = None,
        resume: bool = False,
        callbacks: Sequence[pl.Callback] = (),
        logger: Logger | Sequence[Logger] | None = None,
    ) -> Forecaster[OtherT]:
        """Train on a table; None continues from `prepare`, or reads the path in the configuration.

        Raises SchemaError, DataError, ConfigError or TrainingError, naming column, series and row.

        Parameters
        ----------
        folder
            Where checkpoints, logs, the history and the trained model go; None keeps nothing on disk.
        resume
            Continue from the newest intact checkpoint in `folder`, exactly where that run stopped.
        callbacks, logger
            Of Lightning: more callbacks, and loggers in place of the configured one; the first network alone has them.
        """
        from fusecast.runtime.distributed import is_first_process
        from fusecast.workflows.fit import fit_prepared, with_features_of_checkpoint

        prepared = self._prepared if data is None and self._prepared is not None else self.prepare(data)
        place = None if folder is None else Path(folder)
        if resume and place is not None:
            prepared = self._prepared = with_features_of_checkpoint(prepared, place)
        self.result, self._bundle = fit_prepared(prepared, place, resume=resume, callbacks=callbacks, logger=logger)
        if place is not None and is_first_process():
            self.save(place)
        return self  # type: ignore[return-value]  # results now come in the kind of this table

    def save(self, folder: str | Path) -> Path:
        """Write the deployable bundle and the run's YAML file into a folder; TrainingError before `fit`."""
        from fusecast.inference.model_bundle import save_bundle
        from fusecast.workflows.fit import RUN_FILE

        bundle, run = self._require_bundle(), {RUN_FILE: self.config.to_yaml().encode()}
        parts = bundle.members, bundle.preprocessor, bundle.extra, run
        save_bundle(Path(folder), *parts, arrays=bundle.arrays, final=bundle.final)
        self.folder = Path(folder)
        return self.folder

    def export(
        self, folder: str | Path, *, data: TableLike | None = None, scores: bool = True, device: Device = None
    ) -> Path:
        """Write a bundle that stands alone, with a model card and a manifest of checksums, in place of an earlier one.

        What `save` writes is part of a run, which knows its table and may be trained on; a bundle holds neither rows
        nor their place, and is never changed. `scores` of the test rows are in the card, where there is a table.
        Raises ArtifactError where the folder holds something else than a bundle.
        """
        from fusecast.export.bundle import export_bundle

        has_table = scores and not (data is None and self._prepared is None and self.config.data is None)
        read_table = (lambda: self._model(data, device)) if has_table else None
        return export_bundle(Path(folder), self._require_bundle(), self.config, read_table)

    def export_onnx(
        self, path: str | Path, *, explain: bool = False, raw: bool = False, int8: bool = False
    ) -> OnnxExport:
        """Write the forecast of raw values as one ONNX file, see docs/onnx.md; ConfigError where it cannot be one.

        `explain` adds importances and attention, `raw` leaves blend and calibration out, `int8` stores small weights.
        """
        from fusecast.export.onnx.export import export_onnx

        return export_onnx(Path(path), self._require_bundle(), explain=explain, raw=raw, int8=int8)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` or `export` wrote; ArtifactError when a file is missing, changed or of a newer fusecast."""
        from fusecast.workflows.load import load_run

        bundle, config = load_run(Path(folder))
        forecaster = cls.from_config(config)
        forecaster._bundle, forecaster.folder = bundle, Path(folder)  # noqa: SLF001  of this class
        return forecaster

    def predict(
        self,
        future: TableLike | None = None,
        *,
        data: TableLike | None = None,
        quantiles: Sequence[float] | None = None,
        raw: bool = False,
        partial: bool = False,
        device: Device = None,
    ) -> FrameT:
        """Forecast the steps after the last row of each series, or those that are the last rows of the table.

        `quantiles` are any levels; None for those of the training. Others are interpolated linearly, with exponential
        tails beyond; raw, a head with a distribution has its own.

        Returns id, time, ``cutoff``, ``step``, ``y_hat`` and one column a quantile.
        Raises DataError when a known value is missing or the table breaks the schema, and ConfigError for wrong levels.
        """
        from fusecast.workflows.predict import predict

        extended, forecasts = predict(*self._model(data, device), future, quantiles=quantiles, raw=raw, partial=partial)
        return self._convert(forecasts.to_frame(extended), data)

    def sample(
        self,
        n: int,
        future: TableLike | None = None,
        *,
        data: TableLike | None = None,
        method: Literal["gaussian", "empirical", "independent"] = "gaussian",
        seed: int = 0,
        raw: bool = False,
        partial: bool = False,
        device: Device = None,
    ) -> FrameT:
        """Draw `n` sample paths of the steps after the last row of each series; the same seed draws the same paths.

        Each step alone follows the forecast quantiles, or the distribution of the head; together the steps depend on
        each other as they did in the validation rows, by the `method`: ``gaussian`` (a Gaussian copula of the ranks of
        the forecast errors), ``empirical`` (the ranks of whole windows as observed) or ``independent`` (not at all).
        Returns id, time, ``cutoff``, ``step``, ``sample`` and one column a target.
        """
        from fusecast.workflows.sample import draw_sample_paths

        options: dict[str, Any] = {"method": method, "seed": seed, "raw": raw, "partial": partial}
        paths = draw_sample_paths(*self._model(data, device), n, future, **options)
        return self._convert(paths, data)

    def evaluate(
        self,
        *,
        data: TableLike | None = None,
        stride: int | None = None,
        raw: bool = False,
        device: Device = None,
        on_progress: ProgressCallback | None = None,
    ) -> Evaluation:
        """Return the scores of the forecasts of the test rows, beside the last value and seasonal naive forecasts.

        Of `data`, a table that has grown since the fit, all rows after the start of the test split are scored; `stride`
        is the number of steps between cutoffs, None for the horizon, so that each step is forecast once.
        """
        from fusecast.workflows.evaluate import evaluate_run

        return evaluate_run(*self._model(data, device), raw=raw, stride=stride, on_progress=on_progress)

    def backtest(
        self,
        *,
        data: TableLike | None = None,
        stride: int = 1,
        start: str | None = None,
        end: str | None = None,
        refit_every: int | None = None,
        warm_start: bool = True,
        baselines: Sequence[str] = ("last", "seasonal", "drift", "mean"),
        raw: bool = False,
        out: str | Path | None = None,
        device: Device = None,
        on_progress: ProgressCallback | None = None,
    ) -> Backtest:
        """Forecast from origins `stride` steps apart, beside baselines, and score every forecast.

        All steps forecast lie in [`start`, `end`), ISO dates or times (or steps), None for the test split. After every
        `refit_every` origins the model is trained anew on everything known by then (None: never), from the
        weights of the training before, or without `warm_start` from the beginning. `baselines` are any of last,
        seasonal, drift, mean; with extra libraries also ets, theta, lightgbm. `out` is a Parquet file that the
        forecasts are written to as they are made, and where the same call continues after a kill.
        Raises ConfigError, DataError or ArtifactError for impossible options, an empty span, or other part files.
        """
        from fusecast.workflows.backtest import backtest

        options: dict[str, Any] = {"stride": stride, "start": start, "end": end, "refit_every": refit_every}
        options |= {"warm_start": warm_start, "baselines": baselines, "raw": raw, "out": out, "device": device}
        options |= {"sources": (data, self._source, self.config.data), "on_progress": on_progress}
        return backtest(self._prepared_for(data), self._require_bundle(), **options)

    def calibrate(
        self,
        method: Literal["auto", "cqr", "split", "adaptive"] = "auto",
        *,
        data: TableLike | None = None,
        device: Device = None,
    ) -> Conformal:
        """Calibrate again, as `fit` does; what is learned is kept (and saved) in place of the earlier calibration.

        Of the methods, ``cqr`` shifts the model's own quantiles, ``split`` spreads the errors of the median around it,
        ``adaptive`` fits the shifts anew at every origin on the latest outcomes, and so follows drift (it begins 25%
        wider where fewer than 20 are known at a step); ``auto`` is ``adaptive``, or ``cqr`` where the split has fewer
        origins than the forecast has steps. Raises ConfigError for another method, DataError for too few outcomes.
        """
        from fusecast.inference.manifest import is_exported
        from fusecast.workflows.calibrate import calibrate_bundle

        prepared, bundle, predictor = self._model(data, device)
        self._bundle = calibrate_bundle(bundle, prepared, predictor, method)
        if self.folder is not None and not is_exported(self.folder):
            self.save(self.folder)
        return cast("Conformal", self.calibration)

    def explain(
        self,
        *,
        data: TableLike | None = None,
        series: object = None,
        split: SplitName = "test",
        max_windows: int | None = 2000,
        permutation: int = 0,
        threshold: float | None = None,
        device: Device = None,
        on_progress: ProgressCallback | None = None,
    ) -> ExplanationReport:
        """Explain the forecasts of all windows of a split: variables, lags, seasons, regimes.

        `split` is ``test``, ``validation``, ``train``, or ``all`` of the table. `max_windows` (None for all) are spread
        evenly; each variable is permuted over `permutation` of them, as a check on the selection weights (0: none).
        `threshold` is the distance of the attention from its average that flags a forecast; None chooses one.
        Raises ConfigError when a series or the split is unknown, or no window lies in it.
        """
        from fusecast.workflows.explain import explain_windows

        return explain_windows(
            *self._model(data, device),
            split=split,
            series=series,
            max_windows=max_windows,
            permutation_windows=permutation,
            threshold=threshold,
            on_progress=on_progress,
        )

    def explain_forecast(
        self,
        series: object,
        future: TableLike | None = None,
        *,
        data: TableLike | None = None,
        raw: bool = False,
        partial: bool = False,
        device: Device = None,
    ) -> ForecastExplanation:
        """Explain the latest forecast of one series: which variables and past steps it rests on.

        Without `future`, where there are known columns, the last steps of the table are forecast instead. Raises
        ConfigError or DataError when there is no such series, or known values are missing.
        """
        from fusecast.workflows.explain import explain_latest_forecast

        return explain_latest_forecast(*self._model(data, device), series, future, raw=raw, partial=partial)

    def what_if(
        self,
        changes: Mapping[str, Change],
        future: TableLike | None = None,
        *,
        data: TableLike | None = None,
        series: object = None,
        raw: bool = False,
        partial: bool = False,
        device: Device = None,
    ) -> FrameT:
        """Forecast with other values of known columns, beside the forecast with the values as they are.

        `changes` are by known column: a value for the whole horizon, one value a step, or a function from the present
        values [series, steps] to others. Without a `future`, the last steps of the table are forecast once more.

        Returns id, time, ``step``, ``target``, ``quantile``, ``before``, ``after``, ``difference``.
        Raises ConfigError for a column, value or series that cannot be; DataError when known values are missing.
        """
        from fusecast.workflows.what_if import what_if

        table = what_if(*self._model(data, device), changes, future, series=series, raw=raw, partial=partial)
        return self._convert(table, future if data is None else data)

    def report(
        self,
        path: str | Path,
        *,
        data: TableLike | None = None,
        future: TableLike | None = None,
        figures: str | Path | None = None,
        kind: Literal["png", "svg", "pdf"] = "png",
        raw: bool = False,
        partial: bool = False,
        device: Device = None,
    ) -> Path:
        """Write one self-contained HTML page: accuracy, calibration, forecasts, explanations, regimes, data, training.

        With `future` it shows the steps after the last rows too; `figures` is a folder for each figure of the page as a
        file of a `kind`.
        Raises ArtifactError for an unknown folder or `kind`, ConfigError when what draws figures is not installed.
        """
        from fusecast.workflows.report import write_report

        model = self._model(data, device)
        return write_report(
            *model, self.folder, Path(path), future=future, figures=figures, kind=kind, raw=raw, partial=partial
        )

    def plot(
        self,
        series: object = None,
        last: int | None = None,
        *,
        future: TableLike | None = None,
        data: TableLike | None = None,
        raw: bool = False,
        partial: bool = False,
        device: Device = None,
        engine: Engine = "plotly",
    ) -> Any:
        """Draw the newest forecasts of some series (None: the first six) after the `last` rows of their history.

        Without `future`, where there are known columns, the last steps of the table are forecast. Returns a figure of
        plotly or matplotlib. Raises ConfigError for a wrong `series`, `last` or `engine`, DataError as `predict`.
        """
        from fusecast.workflows.plots.forecasts import plot_newest_forecasts

        more: Any = {"future": future, "raw": raw, "partial": partial, "engine": engine}
        return plot_newest_forecasts(*self._model(data, device), series, last, **more)

    @property
    def calibration(self) -> Conformal | None:
        """Return the calibration that `fit` or `calibrate` learned from the validation rows; None without one."""
        from fusecast.workflows.calibrate import stored_calibration

        return stored_calibration(self._require_bundle())

    @property
    def prepared(self) -> Prepared:
        """Return the checked table of the fit, its splits and windows."""
        return self._prepared_for(None)

    @property
    def predictor(self) -> EnsemblePredictor:
        """Return the judged networks as a predictor of windows, raw and without baselines, on the best device."""
        return self._model(None, None)[2]

    @property
    def run_id(self) -> str:
        """Return the name of this training in tables of forecasts of several runs."""
        return self._require_bundle().run_id

    @property
    def networks(self) -> str:
        """Return which networks are scored, and which forecast the future; empty where these are the same."""
        from fusecast.workflows.predict import describe_networks

        return describe_networks(self._require_bundle())

    def _model(self, data: TableLike | None, device: Device) -> tuple[Prepared, Bundle, EnsemblePredictor]:
        from fusecast.inference.ensemble_predictor import EnsemblePredictor

        prepared, bundle = self._prepared_for(data), self._require_bundle()
        return prepared, bundle, EnsemblePredictor.from_bundle(bundle, device)

    def _require_bundle(self) -> Bundle:
        if (bundle := self._bundle) is None:
            raise TrainingError.not_fitted()
        return bundle

    def _require_source(self, data: TableLike | None) -> TableLike:
        from fusecast.io.sources import name_source

        if data is None and (data := name_source(self.config.data, self.config.query)) is None:
            raise ConfigError.no_data(saved=self._bundle is not None)
        return data

    def _prepared_for(self, data: TableLike | None) -> Prepared:
        """Return the checked panel of a table (None: of the fit) with the preprocessor and splits of the fit."""
        from fusecast.workflows.prepare import prepare_for_model

        if data is None and self._prepared is not None:
            return self._prepared
        bundle, source = self._require_bundle(), self._require_source(data)
        prepared = prepare_for_model(source, self.config, bundle)
        if data is None:
            self._prepared, self._source = prepared, source
        return prepared

    def _convert(self, frame: Any, data: TableLike | None) -> FrameT:
        """Convert a frame to the kind of a table; None for the table of the fit."""
        from fusecast.io.tables import convert_like

        return cast("FrameT", convert_like(self._source if data is None else data, frame))
