"""What is a partition, what the names of folders say, and series that are in two of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from fusecast import DataError, DataNote
from fusecast.scale.partitions import check_series_apart, find_partitions


def write(path: Path, *ids: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame({"id": ids}, strict=False)
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)


def test_a_partition_is_a_file_or_all_files_of_a_folder_of_hive(tmp_path: Path) -> None:
    for name in (
        "b.csv.gz",
        "a/x.parquet",
        "a/y.tsv",
        "n=1/p.parquet",
        "n=1/q.parquet",
        "n=2/k=a%20b/p.csv",
        "n=3.csv",
    ):
        write(tmp_path / name, 1)
    for name in (".hidden.csv", "_metadata", "_tmp/x.csv"):
        write(tmp_path / name, 1)
    found = find_partitions(tmp_path)
    assert [(each.name, len(each.files), each.result) for each in found] == [
        ("a/x", 1, "a/x.parquet"),
        ("a/y", 1, "a/y.parquet"),
        ("b", 1, "b.parquet"),
        ("n=1", 2, "n=1/forecasts.parquet"),
        ("n=2/k=a%20b", 1, "n=2/k=a%20b/forecasts.parquet"),
        ("n=3", 1, "n=3.parquet"),
    ]
    values = {each.name: {name: column.item() for name, column in each.columns.items()} for each in found}
    assert values == {"a/x": {}, "a/y": {}, "b": {}, "n=1": {"n": 1}, "n=2/k=a%20b": {"n": 2, "k": "a b"}, "n=3": {}}


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "-20"], [1, -20]),
        (["1", "2.5", "__HIVE_DEFAULT_PARTITION__"], [1.0, 2.5, None]),
        (["1", "007"], ["1", "007"]),  # a code
        (["1", "a"], ["1", "a"]),
        (["2024-01-01"], ["2024-01-01"]),
    ],
)
def test_values_in_names_of_folders_are_of_one_type_in_all_partitions(
    texts: list[str], values: list[object], tmp_path: Path
) -> None:
    for text in texts:
        write(tmp_path / f"k={text}" / "x.parquet", 1)
    found = {each.name: each.columns["k"].item() for each in find_partitions(tmp_path)}
    assert [found[f"k={text}"] for text in texts] == values
    assert {each.columns["k"].dtype for each in find_partitions(tmp_path)} <= {
        {int: pl.Int64, float: pl.Float64, str: pl.String}[type(values[0])]
    }


@pytest.mark.parametrize("names", [("a.csv", "a.parquet"), ("k=1/x.csv", "k=1.csv")])
def test_two_files_cannot_be_one_partition(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / name, 1)
    with pytest.raises(DataError, match="would both be partition"):
        find_partitions(tmp_path)


def test_a_folder_without_tables_is_refused_and_other_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "sales.xlsx").touch()
    with pytest.raises(DataError, match="holds no table"):
        find_partitions(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        find_partitions(tmp_path / "nowhere")
    write(tmp_path / "a.csv", 1)
    with pytest.warns(DataNote, match=r"1 file in .* are no tables: 'sales\.xlsx'"):
        find_partitions(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [((1, 2), ("3", "2"), "2"), (("a", "b", "a"), ("b", "c"), "b"), ((1.0, 2.5), (1,), "1"), ((1, 2), (3, None), None)],
)
def test_series_are_compared_by_their_names_whatever_their_types(
    first: tuple[object, ...], second: tuple[object, ...], shared: str | None, tmp_path: Path
) -> None:
    write(tmp_path / "a.parquet", *first)
    write(tmp_path / "b.csv", *second)
    partitions = find_partitions(tmp_path)
    if shared is None:
        check_series_apart(partitions, ("id",), ())
        return
    with pytest.raises(DataError, match=rf"series '{shared}' is in .*a\.parquet and in .*b\.csv"):
        check_series_apart(partitions, ("id",), ())


def test_series_of_folders_of_hive_are_compared_too(tmp_path: Path) -> None:
    for name in ("id=1/x.parquet", "id=2/x.parquet"):
        write(tmp_path / name)
        pl.DataFrame({"y": [1.0]}).write_parquet(tmp_path / name)
    check_series_apart(find_partitions(tmp_path), ("id",), ())
    write(tmp_path / "late.csv", 2)
    with pytest.raises(DataError, match=r"series '2' is in .*id=2 and in .*late\.csv"):
        check_series_apart(find_partitions(tmp_path), ("id",), ())


def test_equal_hashes_of_other_names_are_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl.Series, "hash", lambda self, seed: pl.Series([7] * len(self), dtype=pl.UInt64))
    write(tmp_path / "a.csv", 1, 2)
    write(tmp_path / "b.csv", 3, 4)
    check_series_apart(find_partitions(tmp_path), ("id",), ())


def test_a_partition_whose_series_cannot_be_read_is_refused_with_its_forecast(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    pl.DataFrame({"other": [1]}).write_parquet(tmp_path / "b.parquet")
    write(tmp_path / "c.csv", 1)
    check_series_apart(find_partitions(tmp_path), ("id",), ())


def test_series_of_several_columns_are_compared_by_all_of_them(tmp_path: Path) -> None:
    for store, item in (("a", 1), ("b", 1)):
        path = tmp_path / f"store={store}" / "x.parquet"
        path.parent.mkdir()
        pl.DataFrame({"item": [item, item], "y": [1.0, 2.0]}).write_parquet(path)
    check_series_apart(find_partitions(tmp_path), ("store", "item"), ())
    pl.DataFrame({"store": ["b"], "item": ["1"]}).write_csv(tmp_path / "late.csv")
    with pytest.raises(DataError, match=r"series 'b,1' is in .*late\.csv and in .*store=b"):
        check_series_apart(find_partitions(tmp_path), ("store", "item"), ())


def test_ids_that_are_written_otherwise_are_the_series_of_the_training(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "7", "8")
    write(tmp_path / "b.parquet", "007")
    check_series_apart(find_partitions(tmp_path), ("id",), ["a", "b"])
    with pytest.raises(DataError, match=r"series '7' is in .*a\.parquet and in .*b\.parquet"):
        check_series_apart(find_partitions(tmp_path), ("id",), ["7", "8"])
