from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from fusecast.data.panel import Panel
from fusecast.data.panel_builder import validate
from fusecast.data.schema import make_schema
from fusecast.errors import ArtifactError, ConfigError, DataError

END = datetime(2021, 3, 1, 6)


def future_of(horizon: int, series: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"unique_id": f"s{s}", "ds": END + timedelta(hours=h), "price": 50.0 + 10 * s + h, "promo": "yes"}
            for s in range(series)
            for h in range(horizon)
        ]
    )


def test_a_panel_survives_its_frame(panel, assert_same):
    assert_same(validate(panel.to_frame(), panel.schema), panel)


def test_rows_beyond_the_end_have_times(panel):
    assert panel.times_of([1, 2], [5, 7]).to_list() == [END - timedelta(hours=1), END + timedelta(hours=1)]


def test_extending_appends_known_values_and_leaves_the_rest_missing(panel, assert_same):
    longer = panel.extend(2, future_of(2))
    assert longer.lengths.tolist() == [8, 8, 8]
    assert longer.reals["price"].reshape(3, 8)[:, 6:].tolist() == [[50, 51], [60, 61], [70, 71]]
    assert np.isnan(longer.reals["y"].reshape(3, 8)[:, 6:]).all()
    assert (longer.categories["state"].reshape(3, 8)[:, 6:] == -1).all()
    assert_same(longer.truncate(panel.lengths), panel)


def test_rows_of_the_future_outside_the_horizon_and_their_order_do_not_matter(panel, frame, assert_same):
    plain = panel.extend(2, future_of(2))
    wide = pl.concat([frame.select("unique_id", "ds", "price", "promo"), future_of(9)])
    assert_same(panel.extend(2, wide.sample(fraction=1.0, shuffle=True, seed=3)), plain)


def test_a_future_without_ids_holds_for_every_series(panel):
    common = future_of(2, series=1).drop("unique_id")
    assert panel.extend(2, common).reals["price"].reshape(3, 8)[:, 6:].tolist() == [[50, 51]] * 3


def test_new_categories_of_the_future_keep_the_codes_of_the_old(panel, assert_same):
    longer = panel.extend(1, future_of(1).with_columns(promo=pl.Series(["half", "yes", "no"])))
    assert longer.levels["promo"] == (*panel.levels["promo"], "half")
    assert_same(validate(longer.truncate(panel.lengths).to_frame(), panel.schema), panel)


def test_without_known_columns_no_future_is_needed(frame):
    assert validate(frame, make_schema(frame, observed=["temp"])).extend(4).lengths.tolist() == [10, 10, 10]


FUTURES = {
    "no table": (lambda f: None, "known column 'price' lacks values in the 2 steps .* for 3 series: 's0', 's1', 's2'"),
    "no column": (lambda f: f.drop("promo"), "known column 'promo' lacks values in the 2 steps"),
    "a column of another name": (
        lambda f: f.rename({"promo": "Promo"}),
        r"'promo' lacks values .* for 3 series: .* no column of that name\nHint: did you mean 'Promo'",
    ),
    "a row too few": (
        lambda f: f.filter(pl.int_range(6) != 3),
        r"'price' lacks values .* for 1 series: 's1'; .* 2021-03-01 07:00:00 of series 's1'\nHint: .*`observed`",
    ),
    "an empty cell": (
        lambda f: f.with_columns(price=pl.when(pl.int_range(6) == 5).then(None).otherwise("price")),
        "'price' lacks values .* for 1 series: 's2'",
    ),
    "strangers": (
        lambda f: f.with_columns(unique_id=pl.Series(["s0", "s0", "s1", "s1", "s8", "s9"])),
        "'unique_id' of the future table names 2 series that the data do not have: 's8', 's9'",
    ),
    "twice": (lambda f: pl.concat([f, f[:1]]), "hold the same values in more than one row"),
    "off grid": (
        lambda f: f.with_columns(pl.col("ds") + timedelta(minutes=1)),
        "leaves the 1h grid of its series in 6 rows of 3 series",
    ),
    "no time": (lambda f: f.drop("ds"), "column 'ds' is not in the table"),
    "empty time": (lambda f: f.with_columns(ds=pl.lit(None, pl.Datetime)), "time column 'ds' is empty in 6 rows"),
    "empty id": (lambda f: f.with_columns(unique_id=pl.lit(None, pl.String)), "id column 'unique_id' is empty"),
    "text": (lambda f: f.with_columns(price=pl.lit("dear")), "'price' is real but holds text: 'dear'"),
}


@pytest.mark.parametrize("case", FUTURES)
def test_a_future_that_does_not_do_is_refused_in_words(case, panel):
    breaking, message = FUTURES[case]
    with pytest.raises(DataError, match=message):
        panel.extend(2, breaking(future_of(2)))


def test_a_horizon_of_nothing_is_refused(panel):
    with pytest.raises(ConfigError, match="horizon must be at least 1"):
        panel.extend(0)


def test_selecting_and_truncating_agree_with_the_table(panel, frame):
    picked = panel.select([2, 0])
    assert picked.ids.tolist() == ["s2", "s0"]
    assert picked.reals["y"].tolist() == [20, 21, 22, 23, 24, 25, 0, 1, 2, 3, 4, 5]
    assert picked.static_reals["size"].tolist() == [300, 100]
    shorter = panel.truncate([1, 99, 0])
    assert shorter.lengths.tolist() == [1, 6, 0]
    assert shorter.reals["y"].tolist() == [0, 10, 11, 12, 13, 14, 15]


def test_a_saved_panel_is_mapped_and_the_same(panel, tmp_path, assert_same):
    panel.save(tmp_path / "p")
    mapped = Panel.open(tmp_path / "p")
    assert_same(mapped, panel)
    assert isinstance(mapped.reals["y"], np.memmap)
    mapped.truncate([2, 2, 2]).save(tmp_path / "p")  # over the files that are mapped
    assert_same(mapped, panel)
    assert Panel.open(tmp_path / "p").num_rows == 6


def test_integer_ids_and_panels_without_rows_can_be_saved(panel, frame, schema, tmp_path, assert_same):
    numbered = validate(frame.with_columns(unique_id=pl.col("unique_id").str.tail(1).cast(pl.Int32)), schema)
    empty = numbered.truncate([0, 0, 0])
    empty.save(tmp_path)
    assert_same(Panel.open(tmp_path), empty)
    assert Panel.open(tmp_path).ids.dtype == np.int32


def truncate_file(path):
    path.write_bytes(path.read_bytes()[:-9])


DAMAGES = {
    "no header": (lambda p: (p / "panel.json").unlink(), "panel.json does not exist"),
    "no array": (lambda p: (p / "real_0.npy").unlink(), "real_0.npy does not exist"),
    "cut header": (lambda p: truncate_file(p / "panel.json"), "panel.json cannot be read"),
    "cut array": (lambda p: truncate_file(p / "real_0.npy"), "real_0.npy cannot be read"),
    "other length": (lambda p: np.save(p / "real_0.npy", np.zeros(3)), "expected float64 of length 18, found"),
    "pickle": (lambda p: np.save(p / "real_0.npy", np.array([{}]), allow_pickle=True), "real_0.npy cannot be read"),
    "newer": (lambda p: (p / "panel.json").write_text('{"format": 99}'), "format 99"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_folder_is_refused_in_words(case, panel, tmp_path):
    panel.save(tmp_path)
    damage, message = DAMAGES[case]
    damage(tmp_path)
    with pytest.raises(ArtifactError, match=message):
        Panel.open(tmp_path)
