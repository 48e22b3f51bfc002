from __future__ import annotations

import polars as pl
import pytest

from fusecast.data.inspection import inspect_table
from fusecast.data.schema import Kind, Role, make_schema
from fusecast.errors import DataError, SchemaError


def test_columns_get_the_roles_declared_and_their_kind_from_their_type(frame):
    schema = make_schema(
        frame, static=["kind"], known=["price"], observed=["temp", "state"], categorical=["price"], frequency="H"
    )
    assert schema.names(Role.KNOWN, Kind.CATEGORICAL) == ("price",)
    assert schema.names(Role.OBSERVED, Kind.REAL) == ("temp",)
    assert schema.names(Role.STATIC, Kind.CATEGORICAL) == ("kind",)
    assert (schema.targets, schema.frequency, schema.time_zone) == (("y",), "1h", None)


def test_booleans_are_categories_but_not_as_targets(frame):
    flags = frame.with_columns(y=pl.col("y") > 5, temp=pl.col("temp") > 15)
    schema = make_schema(flags, observed=["temp"])
    assert {c.name: c.kind for c in schema.columns} == {"y": Kind.REAL, "temp": Kind.CATEGORICAL}


def test_frequency_and_zone_are_those_of_the_time_column(frame):
    zoned = frame.with_columns(pl.col("ds").dt.replace_time_zone("Asia/Tokyo"))
    schema = make_schema(zoned)
    assert (schema.frequency, schema.time_zone) == ("1h", "Asia/Tokyo")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"known": ["pric"]}, "column 'pric' is not in the table\nHint: did you mean 'price'"),
        ({"id": "uniq_id"}, "column 'uniq_id' is not in the table\nHint: did you mean 'unique_id'"),
        ({"time": "when"}, "column 'when' is not in the table\nHint: available are"),
        ({"targets": ["z"]}, "column 'z' is not in the table"),
        ({"targets": []}, "no target column is declared"),
        ({"known": ["temp"], "observed": ["temp"]}, "column 'temp' has more than one role: known, observed"),
        ({"static": ["ds"]}, "column 'ds' has more than one role: time, static"),
        ({"categorical": ["temp"]}, "'temp' is declared categorical but has no role\nHint: list it in `static`"),
        ({"categorical": ["y"]}, "target 'y' cannot be categorical"),
        ({"frequency": "often"}, "frequency 'often' is not understood"),
        (
            {"id": None},
            "no id column is declared, but times in 'ds' .*\nHint: .*`id`, perhaps 'unique_id'",
        ),
    ],
)
def test_a_schema_that_contradicts_itself_or_the_table_is_an_error(arguments, message, frame):
    with pytest.raises(SchemaError, match=message):
        make_schema(frame, **arguments)


def test_times_that_cannot_be_read_are_an_error(frame):
    with pytest.raises(DataError, match="holds 'soon' in row 0"):
        make_schema(frame.with_columns(ds=pl.lit("soon")))


@pytest.mark.parametrize("odd", ["?", "1,299", "12%", "$3.50", "- "])
def test_a_column_of_numbers_with_one_other_cell_must_be_declared_categorical(odd):
    values = [str(i / 3) for i in range(40)]
    values[7] = odd
    frame = pl.DataFrame({"ds": range(40), "y": 1.0, "x": values})
    with pytest.raises(SchemaError, match="nearly all its cells are numbers"):
        make_schema(frame, id=None, observed=["x"])
    column = next(c for c in inspect_table(frame).columns if c.name == "x")
    assert column.role == "unused"
    assert column.reason.startswith(f"numbers except {odd!r} in row 7")
    declared = make_schema(frame, id=None, observed=["x"], categorical=["x"])
    assert declared.columns[-1].kind is Kind.CATEGORICAL


@pytest.mark.filterwarnings("ignore:columns hold numbers written as text")
@pytest.mark.parametrize("cells", [["38", "40", "M"], ["a", "b", "1"], ["01", "02", None]])
def test_a_column_of_words_or_of_padded_codes_is_a_category(cells):
    frame = pl.DataFrame({"ds": range(30), "y": 1.0, "x": cells * 10}, schema_overrides={"x": pl.String})
    assert make_schema(frame, id=None, observed=["x"]).columns[-1].kind is Kind.CATEGORICAL
