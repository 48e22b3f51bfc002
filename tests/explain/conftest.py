from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.helpers import network_outputs

from fusecast.data.panel import Panel
from fusecast.explain.attention import AttentionStore
from fusecast.features.encoded_panel import Inputs
from fusecast.model.batch import Batch, Output
from fusecast.windows.window_index import WindowIndex


@pytest.fixture
def panel_of() -> Callable[..., Panel]:
    return network_outputs.hourly


@pytest.fixture
def windows_in() -> Callable[..., WindowIndex]:
    return network_outputs.index_of


@pytest.fixture
def keep() -> Callable[..., AttentionStore]:
    return network_outputs.stored


@pytest.fixture
def inputs() -> Inputs:
    return network_outputs.INPUTS


@pytest.fixture
def windows_of() -> Callable[..., tuple[Batch, Output]]:
    return network_outputs.windows
