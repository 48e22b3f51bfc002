"""The instructions of a Dockerfile."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def instructions(path: Path = ROOT / "Dockerfile") -> list[tuple[str, str]]:
    """Return the instructions in order: the word in capitals, and the rest of its line."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def command(word: str) -> list[str]:
    """Return the command of the last CMD or HEALTHCHECK."""
    text = [rest for name, rest in instructions() if name == word][-1]
    words: list[str] = json.loads(text[text.index("[") :])
    return words
