"""Every run that a page shows something of is made by a command on that page, or on one that it links to."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from fusecast.cli.app import app

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))


def commands(page: str) -> list[list[str]]:
    """The fusecast commands of a page's blocks, in words; lines that end in a backslash go on."""
    parts = re.split(r"^```(\w*)\n", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = [text for kind, text in zip(parts[1::4], parts[2::4], strict=True) if kind != "python"]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line.removeprefix("$ ").split("  #", maxsplit=1)[0] for line in lines]
    return [shlex.split(line) for line in commands if line.startswith("fusecast ")]


def made_on(page: str) -> set[str]:
    """The runs that the commands of a page make."""
    return {words[words.index("--out") + 1] for words in commands(page) if words[1] == "fit" and "--out" in words}


@pytest.mark.parametrize("page", PAGES)
def test_the_runs_of_a_page_are_made_by_a_command_that_is_shown(page: str) -> None:
    used = {words[2] for words in commands(page) if words[1] != "fit" and words[2].startswith("runs/")}
    linked = re.findall(r"\]\((\w+\.md)", (DOCS / page).read_text(encoding="utf-8"))
    shown = made_on(page).union(*(made_on(other) for other in linked if (DOCS / other).exists()))
    assert used <= shown


@pytest.mark.parametrize("page", PAGES)
def test_no_command_of_a_page_has_an_option_that_there_is_not(page: str) -> None:
    root = typer.main.get_command(app)
    for words in commands(page):
        assert words[1] in root.commands, words
        command = root.commands[words[1]]
        parameters = command.get_params(typer.Context(command))
        options = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.split("=", maxsplit=1)[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert given <= options | {"--help", "-h"}, words


@pytest.mark.parametrize("page", PAGES)
def test_no_command_of_a_page_writes_over_the_table_that_its_run_was_made_of(page: str) -> None:
    made = {words[words.index("--out") + 1]: words[2] for words in commands(page) if words[1] == "fit"}
    for words in commands(page):
        if words[1] != "fit" and "--out" in words and words[2] in made:
            assert words[words.index("--out") + 1] != made[words[2]]
