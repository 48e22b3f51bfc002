"""What a command writes into a folder takes the place of what it wrote there before, and of nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusecast.errors import ArtifactError
from fusecast.io.output_dir import check_results_folder, replace_results


def write(folder: Path, command: str = "explain", **files: str) -> None:
    with replace_results(folder, command) as scratch:
        for name, text in files.items():
            (scratch / f"{name}.csv").write_text(text)


def visible_files(folder: Path) -> dict[str, str]:
    """Names without their ending -> texts, of what a user sees."""
    return {path.stem: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")}


def test_the_folder_holds_what_the_latest_call_wrote(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    write(folder, a="1", b="1")
    write(folder, b="2", c="2")
    assert visible_files(folder) == {"b": "2", "c": "2"}
    write(folder, a="3")
    assert visible_files(folder) == {"a": "3"}
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []


def test_files_of_the_user_and_of_other_commands_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("mine")
    (tmp_path / "a.csv.bak").write_text("mine")
    write(tmp_path, a="1", b="1")
    write(tmp_path, "report", d="1")
    (tmp_path / "b.csv").write_text("1, and what I think of it")
    (tmp_path / "later.csv").write_text("mine")
    write(tmp_path, c="2")
    assert visible_files(tmp_path) == {
        "notes": "mine", "a.csv": "mine", "later": "mine", "b": "1, and what I think of it", "c": "2", "d": "1",
    }  # fmt: skip


def test_after_an_error_the_earlier_results_are_whole(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="1")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path, a="2", b="\ud800")
    assert visible_files(tmp_path) == {"a": "1", "b": "1"}
    write(tmp_path, c="3")
    assert visible_files(tmp_path) == {"c": "3"}


@pytest.mark.parametrize("moves", range(4))
def test_a_call_that_is_killed_while_it_replaces_leaves_nothing_that_the_next_does_not_know(
    moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a="1", b="1")
    (tmp_path / "mine.csv").write_text("mine")
    replace, done = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(target)
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, b="2", c="2")
    write(tmp_path, d="3")
    assert visible_files(tmp_path) == {"mine": "mine", "d": "3"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"written": 3}', '{"written": {"a.csv": 3}}', '{"written": ["a.csv"]}', "\0"]
)
def test_where_the_list_is_damaged_nothing_is_removed(text: str, tmp_path: Path) -> None:
    write(tmp_path, a="1")
    (tmp_path / ".fusecast-explain.json").write_text(text)
    write(tmp_path, b="2")
    assert visible_files(tmp_path) == {"a": "1", "b": "2"}


def test_nothing_outside_the_folder_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    write(folder, a="1")
    (tmp_path / "a.csv").write_text("1")
    ledger = folder / ".fusecast-explain.json"
    header = json.loads(ledger.read_text())
    (checksums,) = header["written"].values()
    ledger.write_text(json.dumps(header | {"written": {"../a.csv": checksums, str(tmp_path / "a.csv"): checksums}}))
    (folder / "linked.csv").symlink_to(tmp_path / "a.csv")
    write(folder, b="2")
    assert (tmp_path / "a.csv").read_text() == "1"
    assert (folder / "linked.csv").is_symlink()


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        with pytest.raises(ArtifactError, match="file is a file, and no files can be written into it"):
            check_results_folder(place)
    check_results_folder(tmp_path / "new" / "below")
    assert not (tmp_path / "new").exists()
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ArtifactError, match=r"a\.csv is a folder where a file is to be written"):
        write(tmp_path, a="1", b="1")
    assert not (tmp_path / "b.csv").exists()
