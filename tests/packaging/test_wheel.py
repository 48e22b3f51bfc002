"""What the wheel holds; `make wheel` installs it into a new environment, and runs it there."""

from __future__ import annotations

import tomllib
from email import message_from_bytes
from pathlib import Path

import pytest
from tests.packaging.wheel import ROOT, build, read_files

pytest.importorskip("setuptools", minversion="77")


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(tmp_path: Path) -> None:
    files = read_files(build("wheel", tmp_path))
    package = {
        path.relative_to(ROOT / "src").as_posix(): path.read_bytes()
        for path in (ROOT / "src" / "fusecast").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    (metadata,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    about = Path(metadata).parent.as_posix()
    assert {name: content for name, content in files.items() if not name.startswith(about)} == package
    assert files[f"{about}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"fusecast = fusecast.cli.app:main" in files[f"{about}/entry_points.txt"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    described = message_from_bytes(files[metadata])
    assert described["Requires-Python"] == project["requires-python"]
    assert set(described.get_all("Provides-Extra")) == set(project["optional-dependencies"])
