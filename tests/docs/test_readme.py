"""What the README says runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer

from fusecast import Forecaster
from fusecast.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    pages = [README, *(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))]
    lines = [line for page in pages for block in blocks("sh", page) for line in block.replace("\\\n", " ").splitlines()]
    return sorted({line.split("#")[0].strip() for line in lines if line.startswith("fusecast ")})


def table() -> pl.DataFrame:
    hours = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 2, 20), "1h", eager=True)
    one = pl.DataFrame({"ds": hours}).with_columns(
        y=pl.col("ds").dt.hour().cast(pl.Float64), holiday=(pl.col("ds").dt.weekday() > 5).cast(pl.Int64)
    )
    return pl.concat(
        one.with_columns(unique_id=pl.lit(name), city=pl.lit(city)) for name, city in (("a", "Bonn"), ("b", "Lyon"))
    )


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def small(**options: Any) -> Forecaster:
        training = {"members": 1, "max_steps": 2, "batch_size": 8, "logger": "none", "progress": False}
        return Forecaster(**options, network={"hidden_size": 8, "num_heads": 2}, training=training)

    last = table().group_by("unique_id", maintain_order=True).last()
    ahead = pl.DataFrame({"step": range(1, 25)})
    future = last.join(ahead, how="cross").select(
        "unique_id", pl.col("ds") + pl.duration(hours=pl.col("step")), "holiday"
    )
    namespace: dict[str, Any] = {"table": table(), "future": future}
    sources = blocks("python")
    assert len(sources) >= 2
    for source in sources:
        # the same lines on a smaller network
        exec(source.replace("from fusecast import Forecaster", "pass"), namespace | {"Forecaster": small})
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_the_readme_shows_a_picture_that_is_there() -> None:
    (picture,) = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert (ROOT / picture).stat().st_size < 1_000_000


@pytest.mark.parametrize("command", commands())
def test_every_command_shown_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    group = typer.main.get_group(app)
    verb = group.commands[words[0]]
    context = verb.make_context(words[0], words[1:])  # raises where an option or an argument is not understood
    assert context.params
    with pytest.raises(Exception, match=r"[Nn]o such option"):
        verb.make_context(words[0], [*words[1:], "--no-such-option"])


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z-]+)", README))))
def test_every_make_target_named_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_links_to_files_of_the_repository_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [target for target in targets if target and not ((ROOT / page).parent / target).exists()]
    assert missing == []
