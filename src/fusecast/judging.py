"""Judging: how a Forecaster is put to the test over time. Part of the face: no logic of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusecast.evaluation.backtested import Backtest
    from fusecast.judge import Progress
    from fusecast.prepare import Prepared
    from fusecast.training.artifact import Bundle


class Judging:
    """What :class:`~fusecast.forecaster.Forecaster` can be asked to prove once it is fitted or loaded."""

    if TYPE_CHECKING:

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
        from fusecast.rolling import backtest

        return backtest(
            self._on(data),
            self._fitted,
            stride=stride,
            start=start,
            end=end,
            refit_every=refit_every,
            warm=warm,
            baselines=baselines,
            out=None if out is None else Path(out),
            on_progress=on_progress,
        )
