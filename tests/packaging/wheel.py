"""Build the distributions and check them: ``python -m tests.packaging.wheel [--demo OPTIONS]``, or ``make wheel``.

The wheel is installed into a new environment in a temporary folder, with its core dependencies alone. What runs there
has neither the checkout nor a compiler: the PATH is that of the environment, and the cache of kernels is empty.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import Any, Literal
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")
"""What a distribution is built of; the folder of the project also has what earlier builds have left."""
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2]))"
NO_KERNELS = "the kernels in C are not used, torch computes the same more slowly: no C compiler"
LOAD = """
import json, shutil, sys
from importlib.resources import files
import fusecast
from fusecast.data.samples import load_sample, sample_future_path
page = files("fusecast.serving") / "page"
print(json.dumps({
    "place": fusecast.__file__,
    "version": fusecast.__version__,
    "path": sys.path,
    "compilers": [name for name in ("cc", "gcc", "clang") if shutil.which(name)],
    "rows": len(load_sample("bike_sharing")),
    "plan": str(sample_future_path("bike_sharing")),
    "typed": (files("fusecast") / "py.typed").is_file(),
    "template": "<html" in (files("fusecast.reporting") / "templates" / "page.html").read_text(encoding="utf-8"),
    "page": "<title>fusecast</title>" in (page / "index.html").read_text(encoding="utf-8"),
    "kernels": len([path for path in (files("fusecast.kernels") / "csrc").iterdir() if path.name.endswith(".c")]),
}))
"""
COMPARE = """
import sys
import polars as pl
from polars.testing import assert_frame_equal
assert_frame_equal(*map(pl.read_parquet, sys.argv[1:]), rel_tol=1e-3, abs_tol=1e-2)
"""


def build(kind: Literal["sdist", "wheel"], folder: Path) -> Path:
    """Build a distribution into a folder from a copy of the sources, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in SOURCES:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(ROOT / name, Path(scratch, name), ignore=ignored)
            else:
                shutil.copy(ROOT / name, scratch)
        command = [sys.executable, "-c", BUILD, kind, str(folder.resolve())]
        built = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / built.stdout.split()[-1]


def read_files(wheel: Path) -> dict[str, bytes]:
    """Return the content of each file of a wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


class Environment:
    """A new environment, whose programs see neither the checkout nor a compiler."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.work = folder, folder / "venv" / "bin", folder / "work"
        self.work.mkdir()
        venv.create(folder / "venv", with_pip=True)
        self.variables = {
            "PATH": str(self.bin), "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"),
            "TMPDIR": str(folder), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def pip(self, *words: object) -> None:
        """Run pip, with the settings of this machine."""
        command = [self.bin / "python", "-m", "pip", "-q", "--disable-pip-version-check", *map(str, words)]
        subprocess.run(command, cwd=self.work, check=True)

    def run(self, *words: object, code: int = 0, **variables: str) -> str:
        """Run a program of the environment, check its exit code and that nothing went wrong, and return its output."""
        program, *others = map(str, words)
        ran = subprocess.run(
            [self.bin / program, *others],
            cwd=self.work, env=self.variables | variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        output = ran.stdout + ran.stderr
        assert ran.returncode == code, output
        assert "Traceback" not in output, output
        assert "Warning" not in output, output
        return output

    def list_package(self) -> dict[str, int]:
        """Return when each file of the installed package was written."""
        (package,) = (self.folder / "venv").glob("lib/python*/site-packages/fusecast")
        return {str(path): path.stat().st_mtime_ns for path in package.rglob("*")}


def check_package_data(environment: Environment, wheel: Path) -> Path:
    """Check that the installed package is used, without a compiler, and has its data; return the plan of the demo."""
    loaded: dict[str, Any] = json.loads(environment.run("python", "-c", LOAD))
    assert Path(loaded["place"]).is_relative_to(environment.folder), loaded
    assert not any(str(ROOT) in path for path in loaded["path"]), loaded
    assert loaded["compilers"] == [], loaded
    assert f"-{loaded['version']}-" in wheel.name, loaded
    assert all(loaded[name] for name in ("rows", "plan", "typed", "template", "page", "kernels")), loaded
    return Path(loaded["plan"])


def check_demo(environment: Environment, options: list[str], plan: Path) -> None:
    """Run the demo; with the compiler of this machine, where there is one, its forecasts have to be the same."""
    output = environment.run("fusecast", "demo", *options)
    print(output)
    assert output.count(NO_KERNELS) == 1, "why there are no kernels is to be said, and once"
    assert not list(environment.folder.glob("cache/**/*.so"))
    for name in ("forecasts.parquet", "report.html"):
        assert list(environment.work.glob(f"demo/**/{name}")), f"the demo has written no {name}"
    words = ["fusecast", "predict", "demo", "--future", plan, "--out"]
    environment.run(*words, "plain.parquet")
    if any(map(shutil.which, ("cc", "gcc", "clang"))):
        said = environment.run(*words, "kernels.parquet", PATH=f"{environment.bin}{os.pathsep}{os.environ['PATH']}")
        assert NO_KERNELS not in said
        assert list(environment.folder.glob("cache/**/*.so"))
        environment.run("python", "-c", COMPARE, "plain.parquet", "kernels.parquet")
        print("forecasts are the same with kernels and without")


def check_server(environment: Environment, wheel: Path) -> None:
    """Check that a server of the demo's run names the packages that it needs, and has its page when they are there."""
    assert "pip install 'fusecast[serve]'" in environment.run("fusecast", "serve", "demo", code=2)
    environment.pip("install", "-c", ROOT / "constraints.txt", f"{wheel}[serve]")
    pages = [name for name in read_files(wheel) if name.startswith("fusecast/serving/page/")]
    with subprocess.Popen(
        [environment.bin / "fusecast", "serve", "demo", "--port", "0"],
        cwd=environment.work, env=environment.variables, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stderr is not None
        try:
            url = next(json.loads(line)["url"] for line in server.stderr if '"url"' in line)
            assert b"<title>fusecast</title>" in urlopen(url, timeout=60).read()
            for name in pages:
                assert urlopen(f"{url}/static/{Path(name).name}", timeout=60).status == 200
        finally:
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
    assert server.returncode == 0
    print(f"the server has its page, of {len(pages)} files")


def main() -> None:
    """Build and check."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--demo", default="", help="options of `fusecast demo`, such as '--max-minutes 0.5'")
    options = parser.parse_args().demo.split()
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    wheel, sdist = build("wheel", dist), build("sdist", dist)
    with tempfile.TemporaryDirectory() as scratch:
        environment = Environment(Path(scratch).resolve())
        environment.pip("wheel", "--no-deps", "-w", scratch, sdist.resolve())
        assert read_files(Path(scratch, wheel.name)) == read_files(wheel)
        print(f"the wheel and that of the sdist have the same {len(read_files(wheel))} files")
        environment.pip("install", "-c", ROOT / "constraints.txt", wheel.resolve())
        plan = check_package_data(environment, wheel)
        assert "Forecast a table of time series" in environment.run("fusecast", "--help")
        installed = environment.list_package()
        check_demo(environment, options, plan)
        assert environment.list_package() == installed, "something was written into the installed package"
        check_server(environment, wheel.resolve())
    print(f"{wheel.relative_to(ROOT)} and {sdist.relative_to(ROOT)} are checked")


if __name__ == "__main__":
    main()
