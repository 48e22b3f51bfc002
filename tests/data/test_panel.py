from __future__ import annotations

from datetime import timedelta

from tests.helpers.small_table import START, assert_same_panel

from fusecast.data.panel_builder import build_panel

END = START + timedelta(hours=6)


def test_a_panel_survives_its_frame(panel):
    assert_same_panel(build_panel(panel.to_frame(), panel.schema), panel)


def test_rows_beyond_the_end_have_times(panel):
    assert panel.times_at([1, 2], [5, 7]).to_list() == [END - timedelta(hours=1), END + timedelta(hours=1)]


def test_selecting_and_truncating_agree_with_the_table(panel, frame):
    picked = panel.select([2, 0])
    assert picked.ids.tolist() == ["s2", "s0"]
    assert picked.reals["y"].tolist() == [20, 21, 22, 23, 24, 25, 0, 1, 2, 3, 4, 5]
    assert picked.static_reals["size"].tolist() == [300, 100]
    shorter = panel.truncate([1, 99, 0])
    assert shorter.lengths.tolist() == [1, 6, 0]
    assert shorter.reals["y"].tolist() == [0, 10, 11, 12, 13, 14, 15]


def test_names_rows_and_positions_of_series_belong_together(panel):
    ragged = panel.truncate([1, 3, 0])
    assert ragged.names == ("s0", "s1", "s2")
    assert ragged.series_of_row.tolist() == [0, 1, 1, 1]
    assert ragged.row_in_series.tolist() == [0, 0, 1, 2]


def test_the_representation_of_a_panel_is_short(panel):
    assert repr(panel) == "Panel(3 series, 18 rows, frequency='1h', targets=['y'])"
    assert repr(panel.schema) == (
        "Schema(id='unique_id', time='ds', frequency='1h', target=1, observed=2, known=2, static=2)"
    )
