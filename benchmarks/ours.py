"""fusecast, asked the same questions as the peers: Forecaster.prepare, loader, fit, predictor."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.peers.driver import Driver
from benchmarks.peers.protocol import serve


class Fusecast(Driver):
    def load(self) -> None:
        import polars as pl
        import pytorch_lightning as lightning
        import torch

        from fusecast.forecaster import Forecaster
        from fusecast.inference import network_predictor as predictor
        from fusecast.training import fit
        from fusecast.training.callbacks.averaging import WeightAverage
        from fusecast.windows import dataloader as loader
        from fusecast.windows import sampler
        from fusecast.windows import window_index as index

        torch.set_num_threads(self.question.threads)
        self.pl, self.lightning, self.torch, self.Forecaster = pl, lightning, torch, Forecaster
        self.fitting, self.NetworkPredictor, self.WeightAverage = fit, predictor.NetworkPredictor, WeightAverage
        self.WindowIndex, self.make_loader = index.WindowIndex, loader.make_loader
        self.SeededSampler = sampler.SeededSampler

    def importing(self) -> dict[str, float]:
        """Import what a user's script has at its top. Torch and Lightning follow when needed, in first_step."""
        began, cpu = time.perf_counter(), time.process_time()
        import polars as pl  # noqa: F401

        from fusecast import Forecaster  # noqa: F401

        return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}

    def read(self) -> Any:
        columns = self.task.columns()
        name = columns.pop("unique_id")
        return self.pl.DataFrame({"unique_id": self.pl.Series(name.tolist()), **columns}).drop("t", "series")

    def build(self, frame: Any) -> Any:
        task = self.task
        covariates = [name for name in task.static if name != "series"]
        forecaster = self.Forecaster(
            task.horizon,
            task.lookback,
            static=covariates,
            known=[*task.known_reals, *task.known_categories],
            observed=[*task.observed_reals, *task.observed_categories],
            categorical=[
                *(name for name in task.static_categories if name != "series"),
                *task.known_categories,
                *task.observed_categories,
            ],
            network={
                "hidden_size": task.hidden_size,
                "num_heads": task.num_heads,
                "dropout": task.dropout,
                "quantiles": task.quantiles,
            },
            features={"calendar": ()} if self.question.defaults else self._equal_features(),
            split={"validation": 0.2, "test": 0.2} if task.train_end else {"validation": 0, "test": 0},
            training={
                "members": 1,
                "final": "none",
                "logger": "none",
                "progress": False,
                "accelerator": "cpu",
                "seed": self.question.seed,
                "max_steps": self.question.steps or None,
                **({} if self.question.defaults else self._equal_training()),
            },
        )
        prepared = forecaster.prepare(frame)
        prepared.encoded  # noqa: B018  made on demand, and needed
        if task.train_end:
            assert prepared.splits.train_end.tolist() == list(task.train_end)
        return prepared

    def _equal_features(self) -> dict[str, Any]:
        return {
            "calendar": (),
            "target_scaling": "none",  # the table is scaled already, the same for every library
            "covariate_scaling": "none",
            "window_scaling": "none",
            "series_embedding": "series" in self.task.static_categories,
            "relative_position": self.task.relative_position,
        }

    def _equal_training(self) -> dict[str, Any]:
        task = self.task
        return {
            "learning_rate": task.learning_rate,
            "batch_size": task.batch_size,
            "gradient_clip": task.gradient_clip,
            "max_epochs": 1_000_000,
            "early_stopping_patience": None,
            "average_weights": False,
            # peers do not validate while they train, and all are judged by their last weights
            "windows_per_epoch": max(1, self.question.steps) * task.batch_size if task.train_end else None,
        }

    def _loader(self, prepared: Any) -> Any:
        sampler = self.SeededSampler(len(prepared.train), batch_size=self.task.batch_size, shuffle=True)
        return self.make_loader(prepared.encoded, prepared.train, sampler)

    def batches(self, prepared: Any) -> Iterable[tuple[Any, int]]:
        for batch in self._loader(prepared):
            yield batch, len(batch.window)

    def fit(self, prepared: Any) -> Any:
        with tempfile.TemporaryDirectory() as scratch:
            result = self.fitting.fit(
                model_config=prepared.model_config,
                training_config=prepared.config.training,
                encoded=prepared.encoded,
                train=prepared.train,
                valid=prepared.valid if self.question.defaults else None,
                folder=Path(scratch),
                callbacks=self.callbacks(self.lightning),
            )
        self.built = prepared
        return self.NetworkPredictor(result.network, prepared.preprocessor, device="cpu")

    def weights(self, trainer: Any, module: Any) -> Any:
        content = {"state_dict": module.state_dict()}
        for callback in trainer.callbacks:
            if isinstance(callback, self.WeightAverage):
                callback.on_save_checkpoint(trainer, module, content)
        return content["state_dict"]

    def restore(self, predictor: Any, weights: Any) -> None:
        predictor.network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in weights.items()})

    def step(self, prepared: Any) -> Callable[[], int]:
        from fusecast.kernels.adamw import AdamW, clip_gradients
        from fusecast.model.losses import quantile_loss

        config = self.task
        self.seed()
        module = self.fitting.make_module(prepared.model_config, prepared.config.training)
        network = module.network.train()
        batch, windows = next(iter(self.batches(prepared)))
        optimizer = AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True)

        def step() -> int:
            optimizer.zero_grad()
            loss = quantile_loss(network(batch).quantiles, batch.target, batch.target_mask, config.quantiles)
            loss.backward()
            clip_gradients(optimizer, config.gradient_clip)
            optimizer.step()
            return windows

        return step

    def prepare_prediction(self, prepared: Any) -> Callable[[], int]:
        module = self.fitting.make_module(prepared.model_config, prepared.config.training)
        predictor = self.NetworkPredictor(module.network, prepared.preprocessor, device="cpu")
        lengths = prepared.panel.lengths
        per_series = self.windows_a_series(len(lengths))
        index = self.WindowIndex.between(
            lengths=lengths,
            begin=lengths - self.task.horizon - per_series + 1,
            end=lengths,
            lookback=self.task.lookback,
            horizon=self.task.horizon,
        )
        return lambda: len(predictor.predict(prepared.encoded, index))

    def quantiles(self, predictor: Any, frame: Any) -> Any:  # noqa: ARG002  the panel was made in `fit`
        cutoffs = self.task.cutoffs
        index = self.WindowIndex(
            lookback=self.task.lookback,
            horizon=self.task.horizon,
            first_cutoff=[series[0] if series else 1 for series in cutoffs],
            last_cutoff=[series[-1] if series else 0 for series in cutoffs],
            stride=next((series[1] - series[0] for series in cutoffs if len(series) > 1), 1),
        )
        made = predictor.predict(self.built.encoded, index)
        asked = [(number, cutoff) for number, series in enumerate(cutoffs) for cutoff in series]
        assert list(zip(made.series.tolist(), made.cutoff.tolist(), strict=True)) == asked
        return made.quantiles[:, :, 0]


if __name__ == "__main__":
    serve(Fusecast)
