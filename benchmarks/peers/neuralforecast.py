"""neuralforecast: TimeSeriesDataset, its data module and trainer, windows cut inside `training_step`, `predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.peers.driver import Driver
from benchmarks.peers.protocol import serve


class NeuralForecast(Driver):
    def load(self) -> None:
        import pandas as pd
        import pytorch_lightning as pl
        import torch
        from neuralforecast.losses.pytorch import MQLoss
        from neuralforecast.models import TFT
        from neuralforecast.tsdataset import TimeSeriesDataModule, TimeSeriesDataset

        torch.set_num_threads(self.question.threads)
        self.pd, self.pl, self.torch, self.TFT, self.MQLoss = pd, pl, torch, TFT, MQLoss
        self.TimeSeriesDataset, self.TimeSeriesDataModule = TimeSeriesDataset, TimeSeriesDataModule

    def read(self) -> Any:
        return self.pd.DataFrame(self.task.columns())

    def build(self, frame: Any) -> Any:
        import numpy as np

        task = self.task
        if task.train_end:
            frame = frame[frame["t"].to_numpy() < np.asarray(task.train_end)[frame["series"].to_numpy()]]
        return self._dataset(frame)

    def _dataset(self, frame: Any) -> Any:
        task = self.task
        static = None
        if task.static:
            static = frame.groupby("unique_id", sort=False)[list(task.static)].first().reset_index()
        rows = frame[["unique_id", "ds", "y", *task.temporal]]
        return self.TimeSeriesDataset.from_df(rows, static_df=static)[0]

    def model(self, **trainer: Any) -> Any:
        """Make a TFT whose every batch is `batch_size` windows, drawn from those of 32 series as is its default."""
        task = self.task
        return self.TFT(
            h=task.horizon,
            input_size=task.lookback,
            hidden_size=task.hidden_size,
            n_head=task.num_heads,
            dropout=task.dropout,
            attn_dropout=task.dropout,
            loss=self.MQLoss(quantiles=list(task.quantiles)),
            futr_exog_list=[*task.known_reals, *task.known_categories] or None,
            hist_exog_list=[*task.observed_reals, *task.observed_categories] or None,
            stat_exog_list=list(task.static) or None,
            scaler_type="identity",
            windows_batch_size=task.batch_size,
            inference_windows_batch_size=256,
            # a window needs its whole lookback and horizon, as in the other libraries
            training_data_availability_threshold=1.0,
            learning_rate=task.learning_rate,
            num_lr_decays=-1,
            max_steps=max(1, self.question.steps) if self.question.steps else 10_000_000,
            val_check_steps=10_000_000,
            random_seed=self.question.seed,
            accelerator="cpu",
            gradient_clip_val=task.gradient_clip,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **trainer,
        )

    def batches(self, data: Any) -> Iterable[tuple[Any, int]]:
        """Give the windows that `training_step` would cut: that is where this library does a loader's work."""
        torch, model = self.torch, self.model()
        model.val_size = model.test_size = 0
        size = self.task.batch_size
        for batch in self.TimeSeriesDataModule(data, batch_size=model.batch_size).train_dataloader():
            temporal, static, static_cols, usable, _, columns = model._create_windows(batch, step="train")  # noqa: SLF001
            chosen = torch.randperm(len(usable))[:size] if len(usable) >= size else torch.randint(len(usable), (size,))
            windows = model._sample_windows(  # noqa: SLF001
                windows_temporal=temporal,
                static=static,
                static_cols=static_cols,
                temporal_cols=columns,
                w_idxs=chosen,
                final_condition=usable,
            )
            yield model._parse_windows(batch, windows), size  # noqa: SLF001

    def fit(self, data: Any) -> Any:
        model = self.model(callbacks=self.callbacks(self.pl))
        model.fit(data)
        return model

    def step(self, data: Any) -> Callable[[], int]:
        torch, model = self.torch, self.model()
        model.val_size = model.test_size = 0
        parsed, windows = next(iter(self.batches(data)))
        insample_y, insample_mask, outsample_y, outsample_mask, hist_exog, futr_exog, stat_exog = parsed
        inputs = {
            "insample_y": insample_y,
            "insample_mask": insample_mask,
            "futr_exog": futr_exog,
            "hist_exog": hist_exog,
            "stat_exog": stat_exog,
        }
        optimizer = torch.optim.Adam(model.parameters(), lr=self.task.learning_rate)
        model.train()

        def step() -> int:
            optimizer.zero_grad()
            output = model(inputs)
            loss = model.loss(y=outsample_y, y_hat=output, y_insample=insample_y, mask=outsample_mask)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.task.gradient_clip)
            optimizer.step()
            return windows

        return step

    def prepare_prediction(self, data: Any) -> Callable[[], int]:
        model = self.model()
        model.val_size = model.test_size = 0
        series = len(data.indptr) - 1
        per_series = self.windows_a_series(series)
        model.test_size = self.task.horizon + per_series - 1

        def predict() -> int:
            made = model.predict(data, step_size=1)
            assert len(made) == series * per_series * self.task.horizon
            return series * per_series

        return predict

    def quantiles(self, model: Any, frame: Any) -> Any:
        """Forecast series with equally many windows together: `predict` knows one length of the test only."""
        import numpy as np

        task, found = self.task, {}
        counts = [len(series) for series in task.cutoffs]
        for count in sorted(set(counts) - {0}):
            numbers = [number for number, own in enumerate(counts) if own == count]
            data = self._dataset(frame[frame["series"].isin(numbers)])
            model.set_test_size(count * task.horizon)
            made = model.predict(data, step_size=task.horizon)
            made = np.asarray(made).reshape(len(numbers), count, task.horizon, len(task.quantiles))
            found.update(zip(numbers, made, strict=True))
        return np.concatenate([found[number] for number in sorted(found)])


if __name__ == "__main__":
    serve(NeuralForecast)
