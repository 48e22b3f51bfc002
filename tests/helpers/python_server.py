"""Python processes that begin with the large libraries loaded.

A new Python needs seconds of processor time to load torch and Lightning. `run_python` runs a program in a process of
its own that is forked from one which has loaded them and has done nothing else: its memory, signals, environment,
folder and exit code are its own. Where the start of Python itself is checked, subprocess is used instead.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@cache
def start_server() -> subprocess.Popen[str]:
    """Start the process that forks the others, once for all tests of this process."""
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop() -> None:
        server.communicate()

    atexit.register(stop)
    return server


def run_python(
    *words: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python WORDS` (``-m module``, ``-c code`` or a file, then its own words) and return what it printed."""
    server, command = start_server(), [*map(str, words)]
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "command": command,
            "folder": folder,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
        }
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        code = server.stdout.readline()
        assert code, "the process that forks the others has ended"
        out, err = ((Path(folder) / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess([sys.executable, *command], int(code), out, err)


def become(request: dict[str, Any]) -> None:
    """Turn a forked process into the one that was requested."""
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, f"{request['folder']}/stdout", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, f"{request['folder']}/stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.path[:1] = ["", *filter(None, request["env"].get("PYTHONPATH", "").split(os.pathsep))]


def serve() -> list[str]:
    """Fork a process for each line of stdin, and return in it: with its command. The server itself never returns."""
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            request = json.loads(line)
            become(request)
            command: list[str] = request["command"]
            return command
        status = os.waitpid(child, 0)[1]
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    os._exit(0)


def load_libraries() -> None:
    """Import what tests run; nothing here may start a thread."""
    sys.path[0] = str(ROOT)
    import fusecast.cli.app
    import fusecast.compat.lightning_scripts.train
    import fusecast.forecaster
    import fusecast.training.fit  # noqa: F401


if __name__ == "__main__":
    load_libraries()
    gc.freeze()  # what is loaded is neither searched nor freed when a forked process ends
    first, *others = serve()
    if first == "-c":
        sys.argv = ["-c", *others[1:]]
        exec(compile(others[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = others
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *others], str(Path(first).resolve().parent)
        runpy.run_path(first, run_name="__main__")
