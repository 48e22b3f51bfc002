"""pytorch-forecasting: TimeSeriesDataSet, its own DataLoader, lightning's Trainer, `predict` of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.peers.driver import Driver
from benchmarks.peers.protocol import serve


class PytorchForecasting(Driver):
    def load(self) -> None:
        import lightning.pytorch as pl
        import pandas as pd
        import torch
        from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet
        from pytorch_forecasting.data.encoders import NaNLabelEncoder, TorchNormalizer
        from pytorch_forecasting.metrics import QuantileLoss

        torch.set_num_threads(self.question.threads)
        self.pl, self.pd, self.torch = pl, pd, torch
        self.TFT, self.TimeSeriesDataSet, self.QuantileLoss = TemporalFusionTransformer, TimeSeriesDataSet, QuantileLoss
        self.NaNLabelEncoder, self.TorchNormalizer = NaNLabelEncoder, TorchNormalizer

    def read(self) -> Any:
        frame = self.pd.DataFrame(self.task.columns())
        for name in self._categories:
            frame[name] = frame[name].astype(str)
        return frame

    @property
    def _categories(self) -> tuple[str, ...]:
        task = self.task
        return (*task.static_categories, *task.known_categories, *task.observed_categories)

    def build(self, frame: Any) -> Any:
        task = self.task
        if task.train_end:
            known = frame["t"].to_numpy() < self._end_of_training(frame)
            frame = frame[known]
        return self.TimeSeriesDataSet(
            frame,
            time_idx="t",
            target="y",
            group_ids=["unique_id"],
            max_encoder_length=task.lookback,
            min_encoder_length=task.lookback,
            max_prediction_length=task.horizon,
            min_prediction_length=task.horizon,
            static_categoricals=list(task.static_categories),
            static_reals=list(task.static_reals),
            time_varying_known_categoricals=list(task.known_categories),
            time_varying_known_reals=list(task.known_reals),
            time_varying_unknown_categoricals=list(task.observed_categories),
            time_varying_unknown_reals=["y", *task.observed_reals],
            target_normalizer=self.TorchNormalizer(method="identity", center=False),
            scalers=dict.fromkeys((*task.known_reals, *task.observed_reals, *task.static_reals)),
            categorical_encoders={name: self.NaNLabelEncoder(add_nan=True) for name in self._categories},
            add_relative_time_idx=task.relative_position,
        )

    def _end_of_training(self, frame: Any) -> Any:
        import numpy as np

        return np.asarray(self.task.train_end)[frame["series"].astype(int).to_numpy()]

    def _loader(self, data: Any) -> Any:
        return data.to_dataloader(train=True, batch_size=self.task.batch_size, num_workers=0)

    def batches(self, data: Any) -> Iterable[tuple[Any, int]]:
        for x, y in self._loader(data):
            yield (x, y), len(x["encoder_cont"])

    def model(self, data: Any) -> Any:
        task = self.task
        self.seed()
        return self.TFT.from_dataset(
            data,
            hidden_size=task.hidden_size,
            hidden_continuous_size=task.hidden_size,
            attention_head_size=task.num_heads,
            lstm_layers=1,
            dropout=task.dropout,
            loss=self.QuantileLoss(list(task.quantiles)),
            output_size=len(task.quantiles),
            learning_rate=task.learning_rate,
            log_interval=-1,
            reduce_on_plateau_patience=1000,
            optimizer="adam",
        )

    def fit(self, data: Any) -> Any:
        model = self.model(data)
        trainer = self.pl.Trainer(
            accelerator="cpu",
            max_epochs=-1,
            max_steps=self.question.steps or -1,
            gradient_clip_val=self.task.gradient_clip,
            callbacks=self.callbacks(self.pl),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, self._loader(data))
        self.training_data = data
        return model

    def restore(self, model: Any, weights: Any) -> None:
        model.load_state_dict(weights)

    def step(self, data: Any) -> Callable[[], int]:
        torch, model = self.torch, self.model(data).train()
        (x, y), windows = next(iter(self.batches(data)))
        optimizer = torch.optim.Adam(model.parameters(), lr=self.task.learning_rate)
        model.log = lambda *_, **__: None
        model.log_dict = lambda *_, **__: None

        def step() -> int:
            optimizer.zero_grad()
            loss = model.loss(model(x)["prediction"], y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.task.gradient_clip)
            optimizer.step()
            return windows

        return step

    def prepare_prediction(self, data: Any) -> Callable[[], int]:
        model, frame = self.model(data), self.read()
        per_series = self.windows_a_series(frame["unique_id"].nunique())
        rows = self.task.lookback + self.task.horizon + per_series - 1
        tail = self.TimeSeriesDataSet.from_dataset(data, frame.groupby("unique_id").tail(rows), stop_randomization=True)
        loader = tail.to_dataloader(train=False, batch_size=256, num_workers=0)

        def predict() -> int:
            return len(self._predict(model, loader))

        return predict

    def _predict(self, model: Any, loader: Any) -> Any:
        quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        return model.predict(loader, mode="quantiles", trainer_kwargs=quiet)

    def quantiles(self, model: Any, frame: Any) -> Any:
        import numpy as np

        wanted = {(number, cutoff) for number, series in enumerate(self.task.cutoffs) for cutoff in series}
        codes = dict(frame[["unique_id", "series"]].drop_duplicates().to_numpy().tolist())
        data = self.TimeSeriesDataSet.from_dataset(self.training_data, frame, stop_randomization=True)

        def asked(index: Any) -> Any:
            return [
                (int(codes[name]), int(first)) in wanted
                for name, first in zip(index["unique_id"], index["time_idx_first_prediction"], strict=True)
            ]

        data = data.filter(lambda index: np.asarray(asked(index)))
        loader = data.to_dataloader(train=False, batch_size=256, num_workers=0)
        quantiles = np.asarray(self._predict(model, loader))
        index = data.x_to_index  # of every batch: series and first forecast step, to order the windows by
        places = [index(x)[["unique_id", "t"]] for x, _ in loader]
        order = self.pd.concat(places, ignore_index=True)
        keys = sorted(range(len(order)), key=lambda i: (int(codes[order["unique_id"][i]]), int(order["t"][i])))
        return quantiles[keys]


if __name__ == "__main__":
    serve(PytorchForecasting)
