from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.encoded_panels import assert_same_encoding
from tests.helpers.panels import EVERY_KIND, make_panel, overwrite, rows_where

from fusecast.config import FeatureConfig
from fusecast.data.schema import Column, Kind, Role
from fusecast.errors import ArtifactError, ConfigError, DataError, SchemaError
from fusecast.features.preprocessor import FittedPreprocessor, Preprocessor, encode_categories, fit_vocabulary

TRAIN_END = np.array([30, 18, 0])
ALL_COLUMNS = ("y", "temperature", "price", "weather", "event")


def fit(panel, end=TRAIN_END, **options) -> FittedPreprocessor:
    return Preprocessor(FeatureConfig(**options)).fit(panel, end)


def test_inputs_name_every_variable_in_the_order_of_the_batch():
    inputs = fit(make_panel(), calendar=("hour", "day_of_week", "day_of_month", "month")).inputs
    assert inputs.past_names == (
        *("y", "temperature", "price", "relative_position", "weather", "event"),
        *("calendar:hour", "calendar:day_of_week", "calendar:day_of_month", "calendar:month"),
    )
    assert inputs.static_names == ("size", "region", "series:unique_id")
    assert inputs.sizes()["known_categories"] == (4, 25, 8, 32, 13)
    assert inputs.sizes()["static_categories"] == (len(fit(make_panel()).vocabularies["region"]) + 1, 3)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_encoding_equals_a_loop_over_series(missing):
    panel = make_panel(missing=missing)
    fitted = fit(panel)
    encoded = fitted.encode(panel)
    pooled = np.concatenate([panel.reals["y"][:30], panel.reals["y"][40:58]])
    for series, rows in enumerate([slice(0, 40), slice(40, 65), slice(65, 98)]):
        values = panel.reals["y"][rows]
        training = values[: TRAIN_END[series]] if TRAIN_END[series] else pooled
        center, scale = np.nanmean(training), np.nanstd(training)
        np.testing.assert_allclose(encoded.center[series], [center], rtol=1e-12)
        np.testing.assert_allclose(encoded.scale[series], [scale], rtol=1e-12)
        expected = np.nan_to_num((values - center) / scale)
        np.testing.assert_allclose(encoded.reals[rows, 0], expected, rtol=1e-5, atol=1e-6)
        if missing:
            np.testing.assert_array_equal(encoded.reals_present[rows, 0], ~np.isnan(values))
    assert encoded.reals_present.shape[1] == (3 if missing else 0)
    weather = fitted.vocabularies["weather"]
    texts = [panel.levels["weather"][code] if code >= 0 else None for code in panel.categories["weather"]]
    assert encoded.categories[:, 0].tolist() == [weather.index(t) + 1 if t in weather else 0 for t in texts]


def test_nothing_after_the_training_cutoffs_reaches_the_statistics():
    panel = make_panel(missing=0.1)
    later = rows_where(panel, lambda series, row: row >= TRAIN_END[series])
    tampered = overwrite(panel, later, ALL_COLUMNS)
    assert fit(tampered).to_json() == fit(panel).to_json()


@pytest.mark.parametrize("column", ALL_COLUMNS)
def test_the_last_training_row_does_reach_the_statistics(column):
    panel = make_panel()
    last = rows_where(panel, lambda series, row: row == TRAIN_END[series] - 1)
    assert fit(overwrite(panel, last, [column])).to_json() != fit(panel).to_json()


def test_a_column_without_training_values_stays_masked_when_it_has_values_later():
    panel = make_panel()
    early = rows_where(panel, lambda series, row: row < TRAIN_END[series])
    late = replace(
        panel,
        reals={**panel.reals, "price": np.where(early, np.nan, 1e6)},
        static_reals={"size": np.array([np.nan, np.nan, 1e6])},
    )
    fitted = FittedPreprocessor.from_json(fit(late).to_json())
    assert fitted.without_values == ("price", "size")
    encoded = fitted.encode(late)
    price = list(fitted.scales).index("price")
    assert not encoded.reals_present[:, price].any()
    assert not encoded.reals[:, price].any()
    assert not encoded.static_reals_present.any()
    assert not encoded.static_reals.any()
    old = json.loads(fit(late).to_json())  # as earlier versions wrote it
    del old["without_values"]
    assert FittedPreprocessor.from_json(json.dumps(old)).encode(late).reals[:, price].max() == 1e6


def test_static_values_of_series_without_training_rows_reach_nothing():
    panel = make_panel()
    static = replace(
        panel,
        static_reals={"size": np.append(panel.static_reals["size"][:2], 1e9)},
        static_categories={"region": np.append(panel.static_categories["region"][:2], 3).astype(np.int32)},
        levels={**panel.levels, "region": ("rain", "sun", "snow", "hail")},
    )
    assert fit(static).to_json() == fit(panel).to_json()
    assert fit(static, [30, 18, 5]).to_json() != fit(panel, [30, 18, 5]).to_json()


@given(order=st.permutations(range(4)))
@settings(max_examples=10)
def test_the_order_of_series_changes_nothing(order):
    panel, end = make_panel((12, 9, 20, 15), missing=0.1), np.array([10, 9, 15, 11])
    shuffled = panel.select(order)
    fitted = fit(panel, end)
    assert fit(shuffled, end[order]).to_json() == fitted.to_json()
    assert_same_encoding(fitted.encode(shuffled), fit(shuffled, end[order]).encode(shuffled))
    np.testing.assert_array_equal(fitted.encode(shuffled).scale, fitted.encode(panel).scale[order])


def test_levels_and_series_never_trained_on_are_unknown():
    panel = make_panel()
    fitted = fit(panel)
    later = rows_where(panel, lambda series, row: row >= TRAIN_END[series])
    encoded = fitted.encode(overwrite(panel, later, ["weather", "event"]))
    assert (encoded.categories[later][:, :2] == 0).all()
    assert (encoded.categories[~later][:, :2] > 0).all()
    assert encoded.static_categories[:, 1].tolist() == [1, 2, 0]


def test_an_unseen_series_is_encoded_by_the_pooled_statistics_and_kept_beside():
    panel = make_panel()
    fitted = fit(panel)
    encoded, scales = fitted.encode(panel), fitted.scales["y"]
    assert (encoded.center[2, 0], encoded.scale[2, 0]) == (scales.pooled_center, scales.pooled_scale)
    assert encoded.new_series is not None
    assert encoded.new_series.position.tolist() == [-1, -1, 0]
    np.testing.assert_array_equal(encoded.new_series.values[:, 0], panel.reals["y"][65:])
    assert fitted.encode(panel.select([0, 1])).new_series is None


def test_series_are_identified_by_their_names_as_text():
    numbered = replace(make_panel(), ids=np.array([7, 8, 9]))
    named = replace(make_panel(), ids=np.array(["7", "8", "9"]))
    assert_same_encoding(fit(numbered).encode(named), fit(named).encode(named))
    assert fit(numbered).series == ("7", "8")


@pytest.mark.parametrize("scaling", ["standard", "robust", "mean_abs", "none"])
@pytest.mark.parametrize("target_transform", ["none", "log1p"])
def test_scaling_and_transform_are_undone_exactly(scaling, target_transform):
    panel = make_panel()
    fitted = fit(panel, target_scaling=scaling, target_transform=target_transform)
    encoded = fitted.encode(panel)
    values = panel.reals["y"][:40]
    shown = np.log1p(values) if target_transform == "log1p" else values
    scaled = (shown - encoded.center[0]) / encoded.scale[0]
    np.testing.assert_allclose(encoded.reals[:40, 0], scaled, rtol=1e-5, atol=1e-6)
    back = fitted.invert(scaled[None, :, None], encoded.center[:1], encoded.scale[:1])[0, :, 0]
    np.testing.assert_allclose(back, values, rtol=1e-12)


def test_invert_broadcasts_over_windows():
    fitted = fit(make_panel())
    values = np.ones((2, 5, 3, 1))
    back = fitted.invert(values, np.array([[1.0], [2.0]]), np.array([[10.0], [20.0]]))
    assert back.shape == (2, 5, 3, 1)
    assert np.unique(back[0]).tolist() == [11.0]
    assert np.unique(back[1]).tolist() == [22.0]


def test_what_log1p_would_make_negative_becomes_zero():
    fitted = fit(make_panel(), target_transform="log1p")
    assert fitted.invert(np.array([[-9.0]]), np.zeros((1, 1)), np.ones((1, 1))).tolist() == [[0.0]]


def test_a_negative_target_for_log1p_is_named_by_series_and_row():
    panel = make_panel()
    negative = overwrite(panel, rows_where(panel, lambda series, row: (series == 1) & (row == 4)), ["y"], value=-2.5)
    with pytest.raises(DataError, match=r"target 'y'.*in 1 series: 's1'; the first is -2.5 in row 4 of 's1'"):
        fit(negative, target_transform="log1p")
    # after the training rows it is met when the panel is encoded, not when it is fitted
    late = overwrite(panel, rows_where(panel, lambda series, row: (series == 1) & (row == 24)), ["y"], value=-2.5)
    with pytest.raises(DataError, match="row 24 of 's1'"):
        fit(late, target_transform="log1p").encode(late)


def test_a_target_without_training_values_is_refused():
    with pytest.raises(DataError, match="target 'y' has no value before the training cutoffs"):
        fit(make_panel(), [0, 0, 0])


@pytest.mark.parametrize("name", ["relative_position", "calendar:hour", "series:unique_id"])
def test_a_column_with_the_name_of_a_feature_is_refused(name):
    panel = make_panel(columns=(*EVERY_KIND, Column(name=name, role=Role.KNOWN)))
    with pytest.raises(SchemaError, match=f"column '{name}' has the name of"):
        fit(panel)
    assert fit(panel, calendar=(), relative_position=False, series_embedding=False).inputs.known_reals == (
        "price",
        name,
    )


def test_a_panel_with_another_schema_is_refused():
    other = make_panel(columns=[replace(c, kind=Kind.REAL) if c.name == "weather" else c for c in EVERY_KIND])
    with pytest.raises(SchemaError, match="column 'weather' is 'observed real', not 'observed categorical'"):
        fit(make_panel()).encode(other)


def test_series_are_embedded_when_there_are_several_or_when_asked_to():
    single = make_panel((30,))
    assert "series:unique_id" not in fit(single, [20]).inputs.static_categories
    assert fit(single, [20], series_embedding=True).inputs.static_categories["series:unique_id"] == 2
    assert "series:unique_id" not in fit(make_panel(), series_embedding=False).inputs.static_categories


@pytest.mark.parametrize(
    "options",
    [{"calendar": ["weekday"]}, {"calendar": "all"}, {"target_scaling": "minmax"}, {"window_scaling": "first"}],
)
def test_an_unknown_choice_is_refused(options):
    with pytest.raises(ConfigError, match="cannot be"):
        FeatureConfig(**options)


def test_integer_steps_have_no_calendar():
    panel = make_panel(frequency="1i")
    encoded = fit(panel).encode(panel)
    assert encoded.inputs.known_categories.keys() == {"event"}
    assert encoded.categories.shape[1] == 2


@given(
    seed=st.integers(0, 2**32 - 1),
    missing=st.sampled_from([0.0, 0.3]),
    config=st.builds(
        FeatureConfig,
        calendar=st.sampled_from(["auto", (), ("hour", "month")]),
        target_scaling=st.sampled_from(["standard", "robust", "mean_abs", "none"]),
        covariate_scaling=st.sampled_from(["standard", "robust", "mean_abs", "none"]),
        target_transform=st.sampled_from(["none", "log1p", "asinh"]),
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
        (damage(schema=None), "'schema' must be a mapping"),
        (damage(series="s0"), "'series' must be a list"),
        (damage(series=["s0", "s0"]), "holds a name twice"),
        (damage(series=["s0", 1]), "'series' must hold a text"),
        (
            damage(static_scales={"size": {"pooled": ["0", "1"], "center": [], "scale": []}}),
            "'pooled' must hold a number",
        ),
        (damage(static_scales={"size": {"pooled": [0, 1, 2], "center": [], "scale": []}}), "must pair up"),
        (damage(config={"self": 1}), "self is not an option"),
        (damage(version=True), "format True"),
        (damage(static_scales={"size": {"pooled": [float("nan"), 1]}}), "nan, which is no number"),
    ],
)
def test_a_foreign_newer_or_damaged_file_is_refused(text, message):
    with pytest.raises(ArtifactError, match=message):
        FittedPreprocessor.from_json(text)


def test_a_vocabulary_holds_what_was_seen_in_the_order_of_its_text():
    codes = np.array([2, -1, 0, 2], dtype=np.int32)
    assert fit_vocabulary(codes, ("snow", "rain", "hail")) == ("hail", "snow")


def test_codes_count_from_one_and_unknown_or_missing_is_zero():
    codes = encode_categories(np.array([0, 1, 2, -1], dtype=np.int32), ("sun", "fog", "rain"), ("rain", "sun"))
    assert codes.tolist() == [2, 0, 1, 0]
    assert codes.dtype == np.int32


def test_a_column_without_levels_is_unknown_throughout():
    assert encode_categories(np.array([-1, -1], dtype=np.int32), (), ("rain",)).tolist() == [0, 0]


def test_codes_do_not_depend_on_how_a_table_numbers_its_levels():
    vocabulary = ("rain", "sun")
    one = encode_categories(np.array([0, 1], dtype=np.int32), ("sun", "rain"), vocabulary)
    other = encode_categories(np.array([1, 0], dtype=np.int32), ("rain", "sun"), vocabulary)
    np.testing.assert_array_equal(one, other)
