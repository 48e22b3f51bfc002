"""Train a final network in a plain loop: what `training.final` must equal."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as lightning
import torch
from tests.helpers.tables import HORIZON, LOOKBACK

from fusecast import Forecaster
from fusecast.kernels.adamw import AdamW, clip_gradients
from fusecast.model.losses import quantile_loss
from fusecast.runtime.device import seed_step
from fusecast.training.fit import make_module
from fusecast.windows.dataloader import make_loader
from fusecast.windows.sampler import SeededSampler
from fusecast.windows.window_index import WindowIndex


def by_hand(forecaster: Forecaster, preprocessor: Any, steps: int, rates: list[float]) -> torch.nn.Module:
    """Train on all rows, in a plain loop, at these rates; with the average of the weights if the run has it."""
    panel, training = forecaster.prepared.panel, forecaster.config.training
    index = WindowIndex.for_training(lengths=panel.lengths, end=panel.lengths, lookback=LOOKBACK, horizon=HORIZON)
    encoded = preprocessor.encode(panel)
    lightning.seed_everything(training.seed, verbose=False)
    sizes = forecaster._bundle.config.to_dict() | preprocessor.inputs.sizes()  # type: ignore[union-attr]
    network = make_module(type(forecaster._bundle.config)(**sizes), training).network.train()  # type: ignore[union-attr]
    optimizer = AdamW(network.parameters(), lr=0.0, weight_decay=training.weight_decay, fused=True)
    sampler = SeededSampler(
        len(index), batch_size=training.batch, shuffle=True, seed=training.seed,
        windows_per_epoch=training.windows_per_epoch,
    )  # fmt: skip
    average = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    step = epoch = 0
    while step < steps:
        sampler.set_epoch(epoch)
        for batch in make_loader(encoded, index, sampler):
            if step == steps:
                break
            seed_step(training.seed, step, 0, torch.device("cpu"), part=0)
            optimizer.param_groups[0]["lr"] = rates[step]
            optimizer.zero_grad()
            levels = network.config.quantiles
            quantile_loss(network(batch).quantiles, batch.target, batch.target_mask, levels, batch.weight).backward()
            clip_gradients(optimizer, training.gradient_clip)
            optimizer.step()
            step += 1
            for name, weight in network.named_parameters():
                average[name].lerp_(weight.detach(), 9 / (step + 8))
        epoch += 1
    if training.average_weights:
        network.load_state_dict(average, strict=False)
    return network
