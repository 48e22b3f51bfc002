from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.encoded_panels import assert_same_encoding
from tests.helpers.panels import make_panel

from fusecast.config import FeatureConfig
from fusecast.errors import ArtifactError
from fusecast.features.fitted_preprocessor import FittedPreprocessor
from fusecast.features.preprocessor import Preprocessor


@given(
    seed=st.integers(0, 2**32 - 1),
    missing=st.sampled_from([0.0, 0.3]),
    config=st.builds(
        FeatureConfig,
        calendar=st.sampled_from(["auto", (), ("hour", "month")]),
        target_scaling=st.sampled_from(["standard", "robust", "mean_abs", "none"]),
        covariate_scaling=st.sampled_from(["standard", "robust", "mean_abs", "none"]),
        target_transform=st.sampled_from(["none", "log1p"]),
        window_scaling=st.sampled_from(["none", "mean", "last"]),
        series_embedding=st.sampled_from([None, True, False]),
        relative_position=st.booleans(),
    ),
)
@settings(max_examples=25, deadline=None)
def test_a_preprocessor_read_back_computes_exactly_the_same(seed, missing, config):
    panel = make_panel(seed=seed, missing=missing)
    fitted = Preprocessor(config).fit(panel, [30, 18, 0])
    text = fitted.to_json()
    again = FittedPreprocessor.from_json(text)
    assert again.to_json() == text
    assert (again.schema, again.config, again.inputs) == (fitted.schema, fitted.config, fitted.inputs)
    assert_same_encoding(again.encode(panel), fitted.encode(panel))


def test_names_in_any_script_survive():
    panel = make_panel()
    object.__setattr__(panel, "ids", np.array(["café", "东京", 'a\n"b"']))
    fitted = Preprocessor().fit(panel, [30, 18, 10])
    assert FittedPreprocessor.from_json(fitted.to_json()).series == tuple(sorted(panel.ids.tolist()))


def test_its_text_has_sizes_and_no_arrays():
    assert repr(Preprocessor().fit(make_panel(), [30, 18, 0])) == "FittedPreprocessor(2 series, 7 columns)"


def damage(**changes) -> str:
    values = json.loads(Preprocessor().fit(make_panel(), [30, 18, 0]).to_json())
    return json.dumps({**values, **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[1]", "its format is not"),
        ('{"format": "another"}', "its format is not"),
        (damage(version=2), "format 2, and this version of fusecast reads formats up to 1"),
        (damage(version="1"), "format '1'"),
        (damage(series=["s0"]), "scales are not as many as series"),
        (damage(scales={}), "scales are not those of the schema's columns"),
        (damage(vocabularies={}), "damaged"),
        (damage(config={"colour": 1}), "damaged"),
        (damage(schema=None), "damaged"),
    ],
)
def test_a_foreign_newer_or_damaged_file_is_refused(text, message):
    with pytest.raises(ArtifactError, match=message):
        FittedPreprocessor.from_json(text)
