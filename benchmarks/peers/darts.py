"""darts: TimeSeries, its sequential training set and DataLoader, its trainer, `historical_forecasts`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.peers.driver import Driver
from benchmarks.peers.protocol import serve


class Darts(Driver):
    def load(self) -> None:
        import pandas as pd
        import pytorch_lightning as pl
        import torch
        from darts import TimeSeries, concatenate
        from darts.models import TFTModel
        from darts.utils.likelihood_models import QuantileRegression

        torch.set_num_threads(self.question.threads)
        self.pd, self.pl, self.torch, self.TimeSeries, self.concatenate = pd, pl, torch, TimeSeries, concatenate
        self.TFTModel, self.QuantileRegression = TFTModel, QuantileRegression

    def read(self) -> Any:
        task = self.task
        numbers = dict.fromkeys((*task.known_categories, *task.observed_categories), "float32")
        return self.pd.DataFrame(task.columns()).astype(numbers)  # int64 codes would make float64 of all

    def _series(self, frame: Any) -> tuple[list[Any], list[Any] | None, list[Any] | None]:
        """Give targets, future and past covariates: a TimeSeries each for every series."""
        task = self.task

        def group(columns: list[str], static: list[str] | None = None) -> list[Any] | None:
            if not columns:
                return None
            return self.TimeSeries.from_group_dataframe(
                frame,
                group_cols="series",
                time_col="t",
                value_cols=columns,
                static_cols=static,
                drop_group_cols=None if "series" in task.static and columns == ["y"] else "series",
            )

        targets = group(["y"], [name for name in task.static if name != "series"] or None)
        known = group([*task.known_reals, *task.known_categories])
        return targets, known, group([*task.observed_reals, *task.observed_categories])

    def build(self, frame: Any) -> Any:
        targets, known, observed = self._series(frame)
        ends = self.task.train_end
        training = [series[:end] for series, end in zip(targets, ends, strict=True)] if ends else targets
        model = self.model()
        model._uses_static_covariates = bool(self.task.static)  # noqa: SLF001  what its `fit` does before and calls
        dataset = model._build_train_dataset(training, observed, known, None, None)  # noqa: SLF001
        return dataset, training, targets, known, observed

    def model(self, **trainer: Any) -> Any:
        task = self.task
        return self.TFTModel(
            input_chunk_length=task.lookback,
            output_chunk_length=task.horizon,
            hidden_size=task.hidden_size,
            hidden_continuous_size=task.hidden_size,
            num_attention_heads=task.num_heads,
            dropout=task.dropout,
            add_relative_index=task.relative_position or not task.known_reals,
            categorical_embedding_sizes={n: (k, task.hidden_size) for n, k in task.static_categories.items()} or None,
            use_static_covariates=bool(task.static),
            likelihood=self.QuantileRegression(list(task.quantiles)),
            optimizer_kwargs={"lr": task.learning_rate},
            batch_size=task.batch_size,
            n_epochs=1_000_000,
            random_state=self.question.seed,
            pl_trainer_kwargs={
                "accelerator": "cpu",
                "gradient_clip_val": task.gradient_clip,
                "logger": False,
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                **trainer,
            },
        )

    def batches(self, data: Any) -> Iterable[tuple[Any, int]]:
        from darts.models.forecasting.torch_forecasting_model import TorchDataModule, _batch_collate_fn_train

        module = TorchDataModule(
            train_dataset=data[0],
            val_dataset=None,
            batch_size=self.task.batch_size,
            collate_fn=_batch_collate_fn_train,
            dataloader_kwargs=None,
        )
        for batch in module.train_dataloader():
            yield batch, len(batch.past_target)

    def fit(self, data: Any) -> Any:
        model = self.model(callbacks=self.callbacks(self.pl), max_steps=self.question.steps or -1)
        self.built = data
        model.fit_from_dataset(data[0])
        return model

    def restore(self, model: Any, weights: Any) -> None:
        model.model.load_state_dict(weights)

    def step(self, data: Any) -> Callable[[], int]:
        torch, model = self.torch, self._begun(data)
        network = model.model.train()
        batch, windows = next(iter(self.batches(data)))
        optimizer = torch.optim.Adam(network.parameters(), lr=self.task.learning_rate)
        network.log = lambda *_, **__: None

        def step() -> int:
            optimizer.zero_grad()
            network.training_step(batch, 0).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.task.gradient_clip)
            optimizer.step()
            return windows

        return step

    def _begun(self, data: Any) -> Any:
        """Give a model whose network exists: after one step."""
        model = self.model(max_steps=1)
        _, training, _, known, observed = data
        model.fit(training, past_covariates=observed, future_covariates=known)
        return model

    def prepare_prediction(self, data: Any) -> Callable[[], int]:
        model = self._begun(data)
        _, _, targets, known, observed = data
        per_series = self.windows_a_series(len(targets))

        def predict() -> int:
            made = model.historical_forecasts(
                targets,
                past_covariates=observed,
                future_covariates=known,
                start=-(per_series + self.task.horizon - 1),
                start_format="position",
                forecast_horizon=self.task.horizon,
                stride=1,
                retrain=False,
                last_points_only=False,
                predict_likelihood_parameters=True,
                predict_kwargs={"batch_size": 256},
            )
            windows = sum(map(len, made))
            assert windows == per_series * len(targets), windows
            return windows

        return predict

    def quantiles(self, model: Any, frame: Any) -> Any:  # noqa: ARG002  the series were made in `fit`
        import numpy as np

        _, _, targets, known, observed = self.built
        numbers = [number for number, series in enumerate(self.task.cutoffs) for _ in series]
        histories = [targets[number][:cutoff] for number, series in enumerate(self.task.cutoffs) for cutoff in series]
        made = model.predict(
            self.task.horizon,
            series=histories,
            past_covariates=None if observed is None else [observed[number] for number in numbers],
            future_covariates=None if known is None else [known[number] for number in numbers],
            predict_likelihood_parameters=True,
            batch_size=256,
        )
        return np.stack([forecast.values() for forecast in made])


if __name__ == "__main__":
    serve(Darts)
