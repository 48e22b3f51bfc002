from __future__ import annotations

from tests.helpers.encoded_panels import make_encoded

from fusecast.features.encoded_panel import Inputs
from fusecast.model.config import ModelConfig

INPUTS = Inputs(
    targets=("y",),
    observed_reals=("temperature",),
    known_reals=("price", "relative_position"),
    static_reals=("size",),
    observed_categories={"weather": 4},
    known_categories={"calendar:hour": 25},
    static_categories={"region": 3, "series:unique_id": 8},
)


def test_a_network_of_these_sizes_has_a_variable_for_each_name():
    config = ModelConfig(horizon=2, lookback=4, **INPUTS.sizes())
    assert config.num_past == len(INPUTS.past_names) == 6
    assert config.num_future == len(INPUTS.future_names) == 3
    assert config.num_static == len(INPUTS.static_names) == 3


def test_its_text_has_sizes_and_no_arrays():
    assert repr(make_encoded([5, 3])) == "EncodedPanel(2 series, 8 rows, 5 columns)"
