"""`fusecast ui` as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fusecast.cli.commands.ui import ui
from fusecast.errors import ConfigError
from fusecast.serving.server import address_of, listen


def test_the_page_is_served_on_this_machine_until_it_is_interrupted(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "fusecast", "ui", "--port", "0", "--out", str(tmp_path / "models")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http"))
        assert address.startswith("http://127.0.0.1:")
        assert str(tmp_path / "models") in line
        assert httpx.get(f"{address}/v1/models").json() == {"models": [], "trains": True}
        assert "<title>fusecast</title>" in httpx.get(address).text
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_port_that_is_taken_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = int(address_of(listener).rpartition(":")[2])
        with pytest.raises(ConfigError, match=str(port)):
            ui(port=port, out=tmp_path / "models")
    assert not (tmp_path / "models").exists()
