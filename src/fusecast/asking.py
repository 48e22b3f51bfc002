"""Asking: the questions that a Forecaster answers about its forecasts. Part of the face: no logic of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusecast.explain.explanation import Explanation
    from fusecast.explain.single_forecast import ForecastExplanation
    from fusecast.inference.model_bundle import Bundle
    from fusecast.inference.network_predictor import NetworkPredictor
    from fusecast.workflows.evaluate import Progress
    from fusecast.workflows.prepare import Prepared


def names_of(series: Any) -> list[Any] | None:
    """Names of series from a name, or from any collection of names; None is all."""
    if series is None:
        return None
    several = isinstance(series, Iterable) and not isinstance(series, str)
    return list(series) if several else [series]


class Asking:
    """What :class:`~fusecast.forecaster.Forecaster` answers once it is fitted or loaded."""

    folder: Path | None

    if TYPE_CHECKING:

        @property
        def predictor(self) -> NetworkPredictor:
            """The trained network."""
            ...

        @property
        def _fitted(self) -> Bundle: ...

        def _on(self, data: Any) -> Prepared: ...

    def explain(
        self,
        *,
        data: Any = None,
        series: Any = None,
        part: str = "test",
        max_windows: int | None = 2000,
        permutation: int = 0,
        threshold: float | None = None,
        on_progress: Progress | None = None,
    ) -> Explanation:
        """Say what the network looks at, over every window of a span: variables, lags, seasons, regimes.

        Parameters
        ----------
        data
            A table that has grown since the fit; None is the table of the fit.
        series
            Name or names of the series to look at; None is all.
        part
            ``test``, ``validation``, ``train``, or ``all`` of the table.
        max_windows
            Windows at most, evenly spread over the span; None is all there are.
        permutation
            Windows to shuffle each variable over, as a check on the selection weights; 0 leaves the check out.
        threshold
            Distance of the attention from its average above which a forecast is flagged; None chooses one.
        on_progress
            Called with the windows shuffled so far and those there are.

        Raises
        ------
        ConfigError
            When a series or the span is unknown, or no window lies in it.
        """
        from fusecast.workflows.explain import explain_windows

        names = names_of(series)
        return explain_windows(
            self._on(data),
            self.predictor,
            part=part,
            series=names,
            max_windows=max_windows,
            permutation_windows=permutation,
            threshold=threshold,
            on_progress=on_progress,
        )

    def explain_forecast(self, series: object, future: Any = None, *, data: Any = None) -> ForecastExplanation:
        """Say why the latest forecast of a series is what it is: these variables, these past steps.

        Parameters
        ----------
        series
            Its name.
        future
            Known columns of the steps to forecast, as for `predict`, but of this series alone. None: where there are
            known columns, the last steps of the table are forecast instead.
        data
            A newer table; None is the table of the fit.

        Raises
        ------
        ConfigError, DataError
            When there is no such series, or known values are missing.
        """
        from fusecast.io.tables import read_future
        from fusecast.workflows.explain import explain_latest_forecast

        return explain_latest_forecast(
            self._on(data), self.predictor, series, future=read_future(future, self._fitted.fitted.schema.id)
        )

    def what_if(self, changes: Mapping[str, Any], future: Any = None, *, data: Any = None, series: Any = None) -> Any:
        """Forecast with other values of known columns, beside the forecast as things are.

        Parameters
        ----------
        changes
            Known column -> a value for the whole horizon, one value a step, or a function from the values
            [series, steps] there to others.
        future
            Known columns of the steps to forecast, of the series to look at. None: the last steps of the table are
            forecast once more.
        data
            A newer table; None is the table of the fit.
        series
            Name or names of the series to look at; None is all.

        Returns
        -------
        A frame of the kind given: id, time, ``step``, ``target``, ``quantile``, ``before``, ``after``,
        ``difference``.

        Raises
        ------
        ConfigError, DataError
            When a column is not known in the future, a value does not fit it, or there is no such series; when
            known values are missing, or a series is too short.
        """
        from fusecast.io.tables import like, read_future
        from fusecast.workflows.explain import what_if

        prepared, known = self._on(data), read_future(future, self._fitted.fitted.schema.id)
        names = names_of(series)
        table = what_if(prepared, self.predictor, changes, future=known, series=names)
        return like(future if data is None else data, table)

    def report(
        self,
        path: str | Path,
        *,
        data: Any = None,
        future: Any = None,
        figures: str | Path | None = None,
        kind: str = "png",
    ) -> Path:
        """Write one self-contained HTML page: accuracy, calibration, forecasts, reasons, regimes, data, training.

        Parameters
        ----------
        data
            A table that has grown since the fit; None is the table of the fit.
        future
            Known columns of the steps after the last rows, so that the page shows those steps too.
        figures
            Folder for each figure of the page as a file of its own.
        kind
            Ending of those files: ``png``, ``svg`` or ``pdf``.

        Raises
        ------
        ArtifactError
            When the folder of `path` does not exist, or `kind` is none.
        ConfigError
            When figures are asked for and matplotlib is not installed, with the line that installs it.
        """
        from fusecast.io.tables import read_future
        from fusecast.workflows.calibrate import calibrated_if_any
        from fusecast.workflows.report import write_report

        prepared = self._on(data)
        return write_report(
            prepared,
            self.predictor,
            self.folder,
            Path(path),
            calibrated=calibrated_if_any(self._fitted, self.predictor, prepared),
            future=read_future(future, self._fitted.fitted.schema.id),
            figures=None if figures is None else Path(figures),
            kind=kind,
        )
