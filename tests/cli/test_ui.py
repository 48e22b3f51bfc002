"""`fusecast ui` as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.helpers.serving import wait_until
from tests.helpers.small_table import small_table

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


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are not listed in /proc")
def test_a_training_ends_where_the_server_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "fusecast", "ui", "--port", "0", "--out", str(tmp_path / "models")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        form = {"options": json.dumps({"horizon": 3, "id": "unique_id", "time": "ds", "target": "y"})}
        try:
            httpx.post(
                f"{address}/v1/trainings", files={"table": small_table(2, 90).write_csv()}, data=form, timeout=60
            )
            folders = Path(f"/proc/{process.pid}/task").glob("*/children")
            children = [int(pid) for path in folders for pid in path.read_text().split()]
            (training,) = (pid for pid in children if b"trainings.process" in Path(f"/proc/{pid}/cmdline").read_bytes())
        finally:
            process.kill()
    wait_until(lambda: not is_running(training), 60)


def test_a_port_that_is_taken_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = int(address_of(listener).rpartition(":")[2])
        with pytest.raises(ConfigError, match=str(port)):
            ui(port=port, out=tmp_path / "models")
    assert not (tmp_path / "models").exists()
