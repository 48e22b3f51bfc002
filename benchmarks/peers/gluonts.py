"""gluonts (torch): PandasDataset, its sampling loader, PyTorchLightningEstimator's trainer, PyTorchPredictor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.peers.driver import Driver
from benchmarks.peers.protocol import serve


class GluonTS(Driver):
    def load(self) -> None:
        import lightning.pytorch as pl
        import pandas as pd
        import torch
        from gluonts.dataset.pandas import PandasDataset
        from gluonts.time_feature import day_of_week, hour_of_day, month_of_year
        from gluonts.torch.model.tft import TemporalFusionTransformerEstimator

        torch.set_num_threads(self.question.threads)
        self.pd, self.pl, self.torch, self.PandasDataset = pd, pl, torch, PandasDataset
        self.Estimator = TemporalFusionTransformerEstimator
        self.features = {"hour": hour_of_day, "dow": day_of_week, "month": month_of_year}

    def read(self) -> Any:
        task = self.task
        numbers = dict.fromkeys((*task.known_categories, *task.observed_categories), "float32")
        return self.pd.DataFrame(task.columns()).astype(numbers)  # int64 codes would make float64 of all

    @property
    def _reals(self) -> list[str]:
        """Known inputs that the library does not make of the time by itself; categories go in as their codes."""
        task = self.task
        return [n for n in (*task.known_reals, *task.known_categories) if n not in task.calendar]

    @property
    def _observed(self) -> list[str]:
        return [*self.task.observed_reals, *self.task.observed_categories]

    def build(self, frame: Any) -> Any:
        import numpy as np

        task = self.task
        if task.train_end:
            frame = frame[frame["t"].to_numpy() < np.asarray(task.train_end)[frame["series"].to_numpy()]]
        return self._dataset(frame)

    def _dataset(self, frame: Any) -> list[dict[str, Any]]:
        task, static = self.task, None
        if task.static:
            static = frame.groupby("series", sort=True)[list(task.static)].first()
            static = static.astype(dict.fromkeys(task.static_categories, "category"))
        dataset = self.PandasDataset.from_long_dataframe(
            frame,
            item_id="series",
            timestamp="ds",
            target="y",
            freq=task.frequency,
            feat_dynamic_real=self._reals or None,
            past_feat_dynamic_real=self._observed or None,
            static_features=static,
            assume_sorted=True,
        )
        return list(dataset)

    def estimator(self, **trainer: Any) -> Any:
        task = self.task
        return self.Estimator(
            freq=task.frequency,
            prediction_length=task.horizon,
            context_length=task.lookback,
            quantiles=list(task.quantiles),
            num_heads=task.num_heads,
            hidden_dim=task.hidden_size,
            variable_dim=task.hidden_size,
            static_dims=[1] * len(task.static_reals),
            static_cardinalities=list(task.static_categories.values()),
            dynamic_dims=[1] * len(self._reals),
            past_dynamic_dims=[1] * len(self._observed),
            time_features=[self.features[name] for name in task.calendar],
            lr=task.learning_rate,
            weight_decay=0.0,
            dropout_rate=task.dropout,
            batch_size=task.batch_size,
            num_batches_per_epoch=max(1, self.question.steps) if self.question.steps else 1_000,
            trainer_kwargs={
                "accelerator": "cpu",
                "max_epochs": 1 if self.question.steps else 1_000,
                "gradient_clip_val": task.gradient_clip,
                "logger": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                **trainer,
            },
        )

    def _loader(self, data: Any) -> tuple[Any, Any]:
        from gluonts.itertools import Cached

        estimator = self.estimator()
        transformed = Cached(estimator.create_transformation().apply(data, is_train=True))
        module = estimator.create_lightning_module()
        return module, estimator.create_training_data_loader(transformed, module, shuffle_buffer_length=None)

    def batches(self, data: Any) -> Iterable[tuple[Any, int]]:
        for batch in self._loader(data)[1]:
            yield batch, len(batch["past_target"])

    def fit(self, data: Any) -> Any:
        self.seed()
        estimator = self.estimator(callbacks=self.callbacks(self.pl))
        return estimator.train(data, cache_data=True)

    def step(self, data: Any) -> Callable[[], int]:
        torch = self.torch
        module, loader = self._loader(data)
        module.train()
        batch = next(iter(loader))
        optimizer = torch.optim.Adam(module.parameters(), lr=self.task.learning_rate)
        module.log = lambda *_, **__: None

        def step() -> int:
            optimizer.zero_grad()
            module.training_step(batch, 0).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), self.task.gradient_clip)
            optimizer.step()
            return len(batch["past_target"])

        return step

    def prepare_prediction(self, data: Any) -> Callable[[], int]:
        from gluonts.dataset.split import split

        estimator = self.estimator()
        module = estimator.create_lightning_module()
        predictor = estimator.create_predictor(estimator.create_transformation(), module)
        predictor.batch_size = 256
        per_series = self.windows_a_series(len(data))
        _, template = split(data, offset=-(per_series + self.task.horizon - 1))
        windows = template.generate_instances(self.task.horizon, windows=per_series, distance=1)

        def predict() -> int:
            made = sum(1 for _ in predictor.predict(windows.input))
            assert made == per_series * len(data), made
            return made

        return predict

    def quantiles(self, predictor: Any, frame: Any) -> Any:
        import numpy as np

        task, entries = self.task, []
        predictor.batch_size = 256
        for entry, cutoffs in zip(self._dataset(frame), task.cutoffs, strict=True):
            for cutoff in cutoffs:
                cut = {**entry, "target": entry["target"][:cutoff]}
                if "feat_dynamic_real" in entry:
                    cut["feat_dynamic_real"] = entry["feat_dynamic_real"][:, : cutoff + task.horizon]
                if "past_feat_dynamic_real" in entry:
                    cut["past_feat_dynamic_real"] = entry["past_feat_dynamic_real"][:, :cutoff]
                entries.append(cut)
        made = predictor.predict(entries)
        return np.stack([np.stack([f.quantile(q) for q in task.quantiles], axis=-1) for f in made])


if __name__ == "__main__":
    serve(GluonTS)
