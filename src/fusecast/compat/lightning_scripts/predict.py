"""predict_with_model: forecasts of a saved model, beside the actual values."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.compat.lightning_scripts.dataloaders import StepLoader
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.compat.lightning_scripts.statistics import check_pair, match_names, read_names
from fusecast.errors import DataError
from fusecast.runtime.device import torch_device
from fusecast.runtime.distributed import gather_batches, rank_and_world_size

Float32Array = NDArray[np.float32]


def predict_with_model(
    checkpoint: str | Path,
    loader: Iterable[tuple[Tensor, Tensor]],
    device: str | torch.device | None = None,
    *,
    together: bool = False,
) -> tuple[Float32Array, Float32Array]:
    """Forecast every window of a loader, print MSE, RMSE, MAE and R², and return forecasts and actual values.

    Parameters
    ----------
    checkpoint
        A file written by training; the path is enough.
    loader
        Batches of (x, y), such as the third of ``make_dataloaders``; with ``shuffle=False`` rows come in its order.
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None or "auto" is the best of the machine.
    together
        With several processes, such as those of ``torchrun``: each forecasts its share of the batches, and all get all
        rows, each once and in order. Every process must make the same call, with a loader of the same batches.

    Returns
    -------
    predictions, actuals
        float32 ``[W, output_size]`` each, in the units of the data.

    Raises
    ------
    ConfigError
        If the device is absent; the message lists those of the machine.
    ArtifactError
        If the checkpoint is missing, truncated, unsafe or of another network.
    DataError
        If the loader yields nothing, or has other features than the training had. In another order they are matched by
        their names, and the results keep the order of the loader.
    """
    device = torch_device(device)
    model = TemporalFusionTransformerLightning.load_from_checkpoint(checkpoint, map_location=device).eval()
    rank, world = rank_and_world_size(together)
    if isinstance(loader, StepLoader):
        loader = loader.unshared()  # also where one of several processes predicts alone
    order, back = _match_columns(model, loader)
    predictions, actuals = [], []
    with torch.inference_mode():
        for i, batch in enumerate(loader):
            if i % world == rank:
                x, y = check_pair(batch, model.output_size)
                predictions.append(model(x[..., order].to(device)).float().cpu()[:, back])
                actuals.append(y.float())
    if world > 1:
        predictions, actuals = gather_batches(predictions), gather_batches(actuals)
    if not predictions:
        raise DataError.empty_loader()
    forecast, actual = torch.cat(predictions).numpy(), torch.cat(actuals).numpy()
    if rank == 0:
        print("  ".join(f"{name} {value:.6f}" for name, value in compute_scores(forecast, actual).items()), flush=True)
    return forecast, actual


def _match_columns(model: TemporalFusionTransformerLightning, loader: Iterable[Any]) -> tuple[Any, Any]:
    """Return the positions in x of the features of a model, and the positions of its outputs that are those of y."""
    trained, everything = model.feature_names or (), slice(None)
    names = read_names([loader]) if trained else []
    if any(each != names[0] for each in names):
        raise DataError.columns_in_other_order(names[0], next(each for each in names if each != names[0]))
    order = match_names(trained, names[0]) if names else []
    if order == sorted(order):
        return everything, everything
    return order, np.argsort(order).tolist() if model.output_size == model.input_size else everything


def compute_scores(predictions: Float32Array, actuals: Float32Array) -> dict[str, float]:
    """Return MSE, RMSE, MAE and R² over all values of ``[W, F]``.

    R² is 1 - (squared errors) / (squared deviations from each column's mean), both summed over all values; NaN where
    nothing varies.
    """
    error = predictions.astype(np.float64) - actuals
    squares = float((error**2).sum())
    variation = float(((actuals - actuals.mean(axis=0, dtype=np.float64)) ** 2).sum())
    mean = squares / error.size
    return {
        "MSE": mean,
        "RMSE": mean**0.5,
        "MAE": float(np.abs(error).mean()),
        "R²": 1.0 - squares / variation if variation > 0 else float("nan"),
    }
