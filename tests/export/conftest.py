"""A run with everything that a bundle may hold: two members, final networks, a calibration and a blend."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
import torch
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import Forecaster
from fusecast.data.splits import record_last_values
from fusecast.inference.model_bundle import Bundle, Member
from fusecast.workflows.predict import LEARNED

SECRET = 8731.40625
"""A value of the table that occurs nowhere else."""


class Exported(NamedTuple):
    """A run and the bundle that was exported from it."""

    run: Path
    bundle: Path
    table: Path
    future: Path


def with_more_networks(forecaster: Forecaster) -> Bundle:
    """Return the bundle of a forecaster with a second member and two final networks, all like the first one."""
    bundle, panel = forecaster._require_bundle(), forecaster.prepared.panel
    first = bundle.members[0]
    networks = [copy.deepcopy(first.network) for _ in range(3)]
    torch.manual_seed(0)
    with torch.no_grad():
        for network in networks:
            for weight in network.parameters():
                weight.add_(0.02 * torch.randn_like(weight))
    others = [Member(network, first.window_scaling) for network in networks]
    facts = {"kind": "refit", "steps": [[4, 4], [4, 4]], "judged_until": "then", "until": "now"}
    extra = {**facts, LEARNED: record_last_values(panel)}
    final = Bundle(members=tuple(others[1:]), preprocessor=bundle.preprocessor, extra=extra)
    return replace(bundle, members=(first, others[0]), final=final)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    place = tmp_path_factory.mktemp("exported")
    table = shop_table(steps=160).with_columns(
        visitors=pl.when(pl.int_range(pl.len()) == 7).then(SECRET).otherwise("visitors")
    )
    table.write_parquet(place / "private-table.parquet")
    future_of(table).write_parquet(place / "future.parquet")
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **{**TINY, "blend": "validation"})
    forecaster.fit(place / "private-table.parquet")
    forecaster._bundle = with_more_networks(forecaster)
    forecaster.calibrate("cqr")
    forecaster.save(place / "run")
    bundle = forecaster.export(place / "bundle")
    return Exported(place / "run", bundle, place / "private-table.parquet", place / "future.parquet")
