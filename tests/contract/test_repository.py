"""What a repository that strangers clone must not hold, and what its public face is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import fusecast

ROOT = Path(__file__).resolve().parents[2]
MACHINE_PATH = re.compile(r"(?<![\w.~/])/(?:work|root|home|tmp|opt)/\w")
TEXT = {".py", ".md", ".ipynb", ".toml", ".txt", ".yaml", ".yml", ".html", ".css", ".js", ".cpp", ".csv", ".sh", ""}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout: which files belong to the project cannot be told")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_is_larger_than_one_megabyte() -> None:
    sizes = {path.name: path.stat().st_size for path in tracked()}
    assert {name: size for name, size in sizes.items() if size > 1_000_000} == {}


def test_no_file_names_a_path_of_a_machine() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): match.group()
        for path in tracked()
        if path.suffix in TEXT
        and path != Path(__file__)
        and (match := MACHINE_PATH.search(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_the_check_of_paths_sees_one() -> None:
    assert MACHINE_PATH.search('open("/home/' + 'ada/data.csv")')
    assert not MACHINE_PATH.search("see docs/home/index and https://example.org/opt/in")


def test_public_names_are_what_they_say() -> None:
    assert sorted(fusecast.__all__) == fusecast.__all__
    for name in fusecast.__all__:
        assert getattr(fusecast, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Forcaster'"):
        _ = fusecast.Forcaster
