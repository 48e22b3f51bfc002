from __future__ import annotations

import pytest
import torch

from fusecast.model.batch import example_batch
from fusecast.model.config import ModelConfig
from fusecast.training.lightning_module import median_error


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_error_of_the_median_is_the_mean_over_targets_that_count(missing: float) -> None:
    config = ModelConfig(horizon=3, lookback=4, num_targets=2, observed_reals=2, quantiles=(0.1, 0.4, 0.9))
    batch = example_batch(config, 5, missing=missing)
    quantiles = torch.randn(5, 3, 2, 3)
    errors = [
        abs(float(quantiles[b, h, y, 1] - batch.target[b, h, y]))
        for b, h, y in torch.cartesian_prod(torch.arange(5), torch.arange(3), torch.arange(2)).tolist()
        if missing == 0.0 or batch.target_mask[b, h, y]
    ]
    assert float(median_error(quantiles, batch, config.quantiles)) == pytest.approx(sum(errors) / len(errors), rel=1e-5)
