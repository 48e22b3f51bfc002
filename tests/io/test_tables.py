from __future__ import annotations

import gzip
import os
import subprocess
import sys
from datetime import date, datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
from tests.helpers.serving import to_xlsx

from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.errors import ArtifactError, DataError
from fusecast.io.tables import check_writable, convert_like, read_table, write_table

FRAME = pl.DataFrame({"unique_id": ["a", "a"], "ds": [datetime(2021, 1, 1), datetime(2021, 1, 2)], "y": [1.0, 2.5]})


def write(path, form):
    if form == "csv":
        FRAME.write_csv(path)
    elif form == "tsv":
        FRAME.write_csv(path, separator="\t")
    elif form == "csv.gz":
        path.write_bytes(gzip.compress(FRAME.write_csv().encode()))
    elif form == "parquet":
        FRAME.write_parquet(path)
    elif form == "feather":
        pyarrow.feather.write_feather(FRAME.to_arrow(), path)
    else:
        FRAME.write_ipc(path)


@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "parquet", "feather", "arrow", "ipc"])
@pytest.mark.parametrize("as_text", [True, False])
def test_files_of_every_kind_are_read_as_the_same_frame(form, as_text, tmp_path):
    path = tmp_path / f"table.{form}"
    write(path, form)
    assert read_table(str(path) if as_text else path).equals(FRAME)


@pytest.mark.parametrize(
    "source",
    [FRAME, FRAME.lazy(), FRAME.to_arrow(), FRAME.to_pandas(), FRAME.to_dict(as_series=False)],
    ids=["polars", "lazy", "arrow", "pandas", "dict"],
)
def test_frames_of_every_kind_become_the_same_frame(source):
    frame = read_table(source)
    assert frame.with_columns(pl.col("ds").cast(pl.Datetime("us"))).equals(FRAME)


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "arrow"])
def test_objects_of_stores_are_read_as_files_are_by_polars_itself(form, tmp_path):
    path = tmp_path / f"table.{form}"
    write(path, form)
    assert read_table(f"file://{path}").equals(FRAME)
    assert read_table(f"file://{tmp_path}/tab*.{form}").equals(FRAME)
    with pytest.raises(DataError, match=rf"file://.*none\.{form}"):
        read_table(f"file://{tmp_path}/none.{form}")


def test_text_in_a_store_is_read_like_text_in_a_file(tmp_path):
    text = '\ufeffunique_id;ds;y;note\n\n007;2021-01-01;1,5;"a;b"\n8;2021-01-02;;"two\nlines"\n'
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    assert read_table(f"file://{tmp_path}/table.csv", keys=["unique_id"]).equals(
        read_table(tmp_path / "table.csv", keys=["unique_id"])
    )


@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "abfss", "https"])
def test_addresses_reach_polars_as_they_are(scheme, monkeypatch):
    asked = []

    def scan(url):
        asked.append(url)
        raise OSError(f"no such bucket: {url}")

    monkeypatch.setattr(pl, "scan_parquet", scan)
    for address in (f"{scheme}://bucket/a//b/sales.parquet", f"{scheme}://bucket/sales/"):
        with pytest.raises(DataError, match=f"{scheme}://bucket/.* cannot be read as a table: no such bucket"):
            read_table(address)
        assert asked.pop() == address
    with pytest.raises(DataError, match=r"sales\.xlsx"):
        read_table(f"{scheme}://bucket/sales.xlsx")


def test_signatures_of_objects_are_in_no_error(monkeypatch):
    signed = "https://host/sales.parquet?X-Amz-Signature=sEcRet"

    def scan(url):
        raise pl.exceptions.ComputeError(f"cannot open {url}")

    monkeypatch.setattr(pl, "scan_parquet", scan)
    with pytest.raises(DataError, match=r"https://host/sales\.parquet") as caught:
        read_table(signed)
    assert "sEcRet" not in str(caught.value)


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
def test_results_are_written_to_stores_by_polars_itself(form, tmp_path):
    write_table(FRAME, f"file://{tmp_path}/out.{form}")
    assert read_table(tmp_path / f"out.{form}").equals(FRAME)
    with pytest.raises(ArtifactError, match=f"file://.*out.{form}"):
        write_table(FRAME, f"file://{tmp_path}/out.{form}/below.{form}")
    with pytest.raises(ArtifactError, match="ending"):
        check_writable("s3://bucket/out.xlsx")
    check_writable(f"s3://bucket/out.{form}")


def test_an_index_of_times_becomes_the_time_column():
    y = pd.DataFrame({"y": [1.0, 2.0]}, index=pd.date_range("2021-01-01", periods=2))
    assert read_table(y).columns == ["ds", "y"]
    assert read_table(y.rename_axis("day")).columns == ["day", "y"]
    assert read_table(y["y"]).columns == ["ds", "y"]


def test_periods_become_their_first_instants():
    frame = read_table(pd.DataFrame({"y": [1.0, 2.0]}, index=pd.period_range("2021-01", periods=2, freq="M")))
    assert frame["ds"].to_list() == [datetime(2021, 1, 1), datetime(2021, 2, 1)]


def test_levels_of_an_index_become_columns_and_a_plain_index_does_not():
    plain = pd.DataFrame({"unique_id": ["a", "b"], "ds": [1, 2], "y": [1.0, 2.0]}, index=[7, 9])
    assert read_table(plain).columns == ["unique_id", "ds", "y"]
    assert read_table(plain.set_index(["unique_id", "ds"])).columns == ["unique_id", "ds", "y"]
    for index in ("ds", ["unique_id", "ds"]):
        assert read_table(plain.set_index(index, drop=False)).equals(read_table(plain))
    other = plain.set_index(plain["ds"].to_numpy()[::-1]).rename_axis("ds")
    with pytest.raises(DataError, match="more than one column named 'ds'"):
        read_table(other)


def test_objects_of_several_types_become_text():
    frame = read_table(pd.DataFrame({"y": [1.5, "n/a", None]}))
    assert frame["y"].to_list() == ["1.5", "n/a", None]


def csv_of(tmp_path, text: str) -> pl.DataFrame:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(path)


def test_cells_of_a_csv_become_numbers_times_and_categories(tmp_path):
    frame = csv_of(tmp_path, "id,ds,y,n,flag,word\nNA,2021-01-01,1.5,3,True,\nb,2021-01-02,NA,,FALSE,x\nc,,, 4 ,,y\n")
    assert frame["id"].to_list() == ["NA", "b", "c"]
    assert frame["ds"].to_list() == [date(2021, 1, 1), date(2021, 1, 2), None]
    assert frame["y"].to_list() == [1.5, None, None]
    assert frame["n"].to_list() == [3.0, None, 4.0]
    assert frame["flag"].to_list() == [True, False, None]
    assert frame["word"].to_list() == [None, "x", "y"]


def test_decimal_commas_are_read_where_commas_do_not_separate(tmp_path):
    frame = csv_of(tmp_path, "\ufeffid;y\na;1,5\nb;-2\n")
    assert frame.columns == ["id", "y"]
    assert frame["y"].to_list() == [1.5, -2.0]


def test_numbers_with_a_word_among_them_stay_text(tmp_path):
    assert csv_of(tmp_path, "y\n1\ntwo\n3\n")["y"].to_list() == ["1", "two", "3"]


def test_a_late_odd_cell_is_seen_in_a_long_file(tmp_path):
    frame = csv_of(tmp_path, "y\n" + "1\n" * 20_000 + "2.5\n")
    assert frame["y"][-1] == 2.5


def test_ambiguous_dates_are_left_as_text(tmp_path):
    assert csv_of(tmp_path, "ds,y\n01/02/2021,1\n02/02/2021,2\n03/04/2021,3\n")["ds"].dtype == pl.String


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "none.csv does not exist\nHint: check the path"),
        ("table.xls", b"x", "table.xls cannot be read as a table\nHint: supported are .csv"),
        ("table.xlsx", b"x", "table.xlsx cannot be read as a table: .*Zip"),
        ("empty.csv", b"", "empty.csv has no rows"),
        ("header.csv", b"a,b\n", "has no rows"),
        ("twice.csv", b"a,b,a\n1,2,3\n", "more than one column named 'a'\nHint: rename one of them"),
        ("broken.parquet", b"PAR1 nothing", "broken.parquet cannot be read as a table: "),
        ("broken.arrow", b"nothing", "broken.arrow cannot be read as a table: "),
        ("broken.csv.gz", b"nothing", "broken.csv.gz cannot be read as a table: "),
        ("ragged.csv", b"a,b\n1,2\n1,2,3,4\n", r"line 3 of file .*ragged.csv has 4 cells"),
    ],
)
def test_files_that_are_no_tables_are_errors_that_name_the_file(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "a int cannot be read as a table\nHint: supported are"),
        ({"a": [1, 2], "b": [1, 2, 3]}, "this dict .* cannot be read as a table"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column named 'a'"),
        (pa.table([[1], [2]], names=["a", "a"]), "more than one column named 'a'"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([2], name="a")), "more than one column named 'a'"),
        (pl.DataFrame(), "the table has no rows"),
    ],
)
def test_sources_that_are_no_tables_are_errors_that_name_their_type(source, message):
    with pytest.raises(DataError, match=message):
        read_table(source)


def test_results_come_back_in_the_kind_of_the_source():
    assert isinstance(convert_like(FRAME.to_pandas(), FRAME), pd.DataFrame)
    assert isinstance(convert_like(FRAME.to_arrow(), FRAME), pa.Table)
    assert convert_like(FRAME, FRAME) is FRAME
    assert convert_like("table.csv", FRAME) is FRAME


def test_reading_a_file_imports_neither_pandas_nor_torch(tmp_path):
    path = tmp_path / "t.csv"
    FRAME.write_csv(path)
    code = (
        "import sys; from fusecast.io.tables import read_table; from fusecast.data.panel_builder import build_panel; "
        f"read_table({str(path)!r}); assert not {{'pandas', 'torch'}} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_with_leading_zeros_keep_them(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("unique_id,ds,y\n007,2024-01-01,1\n7,2024-01-01,2\n012,2024-01-01,3\n")
    assert read_table(path, keys=("unique_id",))["unique_id"].to_list() == ["007", "7", "012"]
    path.write_text("unique_id,ds,y\n7,2024-01-01,1\n12,2024-01-01,2\n")
    assert read_table(path, keys=("unique_id",)).equals(read_table(path))
    assert read_table(path)["unique_id"].dtype == pl.Int64
    path.write_text(f"unique_id,ds,y\n{2**53 + 1},2024-01-01,1\n{2**53},2024-01-01,2\n")
    assert read_table(path, keys=("unique_id",))["unique_id"].to_list() == [2**53 + 1, 2**53]
    path.write_text("unique_id,ds,y\n7.5,2024-01-01,1\nx,2024-01-01,2\n")
    assert read_table(path, keys=("unique_id",)).equals(read_table(path))


def test_a_comma_that_may_separate_thousands_is_not_read_as_a_decimal_comma(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("ds;y;share\n2024-01-01;1,000;0,125\n2024-01-02;12,500;10,000\n2024-01-03;2,750;3,5\n")
    frame = read_table(path)
    assert frame["share"].to_list() == [0.125, 10.0, 3.5]
    with pytest.raises(DataError, match="holds text: '1,000' in row 0 and 2 more\nHint: write plain numbers") as caught:
        build_panel(frame, make_schema(frame, id=None))
    assert "no value at all" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("ds;y;price\n2024-01-01;1.006;1,49\n2024-01-02;8.430;1,99\n", "1.006"),  # elsewhere with commas
        ("ds;y\n2024-01-01;843\n2024-01-02;1.006\n", "1.006"),  # some have no dot
    ],
)
def test_a_dot_that_may_separate_thousands_is_not_read_as_a_decimal_point(text, cell, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=f"column 'y' of file .* holds '{cell}' in row ., whose dot may") as caught:
        read_table(path)
    assert "write 1006, or 1.0060 if it is a decimal" in str(caught.value)


@pytest.mark.parametrize("cells", [("1.006", "8.430"), ("1.5", "8.430"), ("0.125", "8"), ("1.006", "-2.5")])
def test_other_dots_are_decimal_points(cells, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("ds;y\n2024-01-01;{}\n2024-01-02;{}\n".format(*cells))
    assert read_table(path)["y"].to_list() == [float(cell) for cell in cells]


def test_months_with_dots_are_no_numbers(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("month;y\n" + "".join(f"{m:02}.{year};{m},5\n" for year in (2022, 2023) for m in range(1, 13)))
    frame = read_table(path)
    assert frame["month"].to_list()[:2] == ["01.2022", "02.2022"]
    assert make_schema(frame, id=None, time="month").frequency == "1mo"


def test_the_cell_that_is_no_number_is_named_among_decimal_commas(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("ds;y\n" + "".join(f"2024-01-{d:02};{d},5\n" for d in range(1, 29)) + "2024-01-29;k.A.\n")
    frame = read_table(path)
    with pytest.raises(DataError, match=r"holds text: 'k\.A\.' in row 28\n"):
        build_panel(frame, make_schema(frame, id=None))


def test_the_first_sheet_of_a_spreadsheet_is_a_table(tmp_path, monkeypatch):
    frame = pl.DataFrame({"ds": ["2024-01-01", "2024-01-02"], "y": [1.5, 2.0]})
    path = tmp_path / "table.xlsx"
    path.write_bytes(to_xlsx(frame))
    assert read_table(path)["y"].to_list() == [1.5, 2.0]
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(DataError, match=r"without the library fastexcel\nHint: pip install 'fusecast\[excel\]'"):
        read_table(path)


def test_empty_lines_are_skipped(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("\n \nds,y\n2024-01-01,1\n\n2024-01-02,\n,\n\n")
    assert read_table(path).rows() == [(date(2024, 1, 1), 1), (date(2024, 1, 2), None)]


def test_a_file_that_is_not_utf8_is_an_error_with_a_hint(tmp_path):
    path = tmp_path / "table.csv"
    for text in ("ds,Größe\n1,2\n", "ds,y\n1,Köln\n"):
        path.write_bytes(text.encode("cp1252"))
        with pytest.raises(DataError, match=r"table.csv is not written in UTF-8\nHint: save it again"):
            read_table(path)


def test_a_row_with_too_many_cells_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("ds,y\n2024-01-01,1\n2024-01-02,1,234\n")
    with pytest.raises(DataError, match=r"line 3 of file .* has 3 cells, and the header has 2\nHint: put cells"):
        read_table(path)


def test_times_with_and_without_a_zone_in_one_pandas_column_are_an_error():
    stamps = [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02", tz="UTC")]
    frame = pd.DataFrame({"ds": pd.Series(stamps, dtype=object), "y": 1.0})
    with pytest.raises(DataError, match="mixes time zones"):
        make_schema(read_table(frame), id=None)


def test_bytes_become_text_or_hexadecimal_numbers(tmp_path):
    path = tmp_path / "table.parquet"
    pl.DataFrame({"word": [b"a", None], "key": [b"\xff\x00", b"b"]}).write_parquet(path)
    assert read_table(path).to_dict(as_series=False) == {"word": ["a", None], "key": ["ff00", "62"]}


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "table.csv")
    with pytest.raises(DataError, match="it is a pipe"):
        read_table(tmp_path / "table.csv")


def test_lists_of_rows_and_structured_arrays_are_tables():
    rows = [{"ds": 1, "y": 2.0}, {"ds": 2, "y": None, "price": 3}, {"ds": 3}]
    expected = pl.DataFrame({"ds": [1, 2, 3], "y": [2.0, None, None], "price": [None, 3, None]})
    assert read_table(rows).equals(expected)
    array = np.array([(1, 2.0), (2, 3.5)], dtype=[("ds", "i8"), ("y", "f8")])
    assert read_table(array).equals(pl.DataFrame({"ds": [1, 2], "y": [2.0, 3.5]}))
    for wrong in ([1, 2], [{"ds": 1}, 2], np.zeros((2, 2))):
        with pytest.raises(DataError, match="cannot be read as a table"):
            read_table(wrong)
    with pytest.raises(DataError, match="no rows"):
        read_table([])
