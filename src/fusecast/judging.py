"""Judging: how a Forecaster is put to the test over time. Part of the face: no logic of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusecast.calibration.conformal import Conformal
    from fusecast.config import RunConfig
    from fusecast.evaluation.backtest.results import Backtest
    from fusecast.inference.model_bundle import Bundle
    from fusecast.inference.network_predictor import NetworkPredictor
    from fusecast.workflows.evaluate import Progress
    from fusecast.workflows.prepare import Prepared


class Judging:
    """What :class:`~fusecast.forecaster.Forecaster` can be asked to prove once it is fitted or loaded."""

    _bundle: Bundle | None
    folder: Path | None
    _source: Any
    config: RunConfig

    if TYPE_CHECKING:

        @property
        def predictor(self) -> NetworkPredictor:
            """The trained network."""
            ...

        def save(self, folder: str | Path) -> Path:
            """Write the bundle."""
            ...

        @property
        def _fitted(self) -> Bundle: ...

        def _on(self, data: Any) -> Prepared: ...

    def backtest(
        self,
        *,
        data: Any = None,
        stride: int = 1,
        start: str | None = None,
        end: str | None = None,
        refit_every: int | None = None,
        warm: bool = True,
        baselines: Sequence[str] = ("last", "seasonal", "drift", "mean"),
        calibrated: bool = False,
        out: str | Path | None = None,
        on_progress: Progress | None = None,
    ) -> Backtest:
        """Forecast from rolling origins, beside baselines, and judge everything that was forecast.

        Parameters
        ----------
        data
            Another table of the same columns; None is the table of the fit.
        stride
            Steps between origins.
        start, end
            ISO dates or times (or integer steps): all steps that are forecast lie in [start, end). None is the start
            of the test span, and the end of the data.
        refit_every
            Train anew after so many origins on everything known by then; None judges the model as it is.
        warm
            Whether training anew starts from the weights of the time before, or from the beginning.
        baselines
            Any of last, seasonal, drift, mean; and with extra libraries ets, theta, lightgbm.
        calibrated
            Whether the forecasts that `calibrate` has shifted are judged too, as ``TFT calibrated``.
        out
            Parquet file that the forecasts are written to as they are made. If the work is cut off, the same call
            goes on where it stopped. None keeps them in memory.
        on_progress
            Called with the windows judged so far and those there are.

        Raises
        ------
        ConfigError, DataError, ArtifactError
            In words, for impossible options, an empty span, or parts of another backtest in the way.
        """
        from fusecast.io.tables import check_apart
        from fusecast.workflows.backtest import backtest

        if out is not None:
            check_apart(Path(out), data, self._source, self.config.data)
        return backtest(
            self._on(data),
            self._fitted,
            stride=stride,
            start=start,
            end=end,
            refit_every=refit_every,
            warm=warm,
            baselines=baselines,
            calibrated=calibrated,
            out=None if out is None else Path(out),
            on_progress=on_progress,
        )

    def calibrate(self, method: str = "auto", *, data: Any = None) -> Conformal:
        """Learn from the validation span how far quantiles must be shifted to hold what they promise.

        The calibration is kept with the model (and saved with it, where it has a folder), and applied where it is
        asked for: ``predict(calibrated=True)``, ``backtest(calibrated=True)``. A later call replaces it.

        Parameters
        ----------
        method
            ``cqr`` shifts the model's own quantiles, ``split`` spreads the errors of the median around it, ``adaptive``
            learns the shifts anew at every origin from the latest outcomes, and so follows drift; ``auto`` is
            ``adaptive``, or ``split`` where the span has fewer origins than the forecast has steps.
        data
            A table that holds the validation span; None is the table of the fit.

        Raises
        ------
        ConfigError, DataError
            For an unknown method, and a validation span with too few outcomes.
        """
        from fusecast.workflows.calibrate import calibrate, with_calibration

        prepared = self._on(data)
        conformal = calibrate(prepared, self.predictor, method)
        self._bundle = with_calibration(self._fitted, conformal)
        if self.folder is not None:
            self.save(self.folder)
        return conformal

    def sample(
        self,
        n: int,
        future: Any = None,
        *,
        data: Any = None,
        method: str = "gaussian",
        seed: int = 0,
        calibrated: bool = False,
    ) -> Any:
        """Draw `n` scenarios of the steps after each series' last row.

        Each step alone follows the forecast quantiles, or the distribution where the head is one; together the steps
        move as they did in the validation span.

        Parameters
        ----------
        future, data, calibrated
            As in `predict`.
        method
            ``gaussian`` (a Gaussian copula of the ranks of what the forecasts left open), ``empirical`` (the order of
            windows as they were) or ``independent`` (each step alone).
        seed
            The same seed draws the same scenarios.

        Returns
        -------
        A frame of the kind given: id, time, ``cutoff``, ``step``, ``sample`` and one column a target.
        """
        from fusecast.io.tables import like
        from fusecast.workflows.predict import sample_ahead

        prepared = self._on(data)
        frame = sample_ahead(
            prepared, self._fitted, self.predictor, n, future, method=method, seed=seed, calibrated=calibrated
        )
        return like(self._source if data is None else data, frame)
