"""Run a command beside a private PostgreSQL server: ``python -m tests.helpers.postgres python -m pytest ...``.

The server is Debian's, installed where it is missing and that is possible. It runs in a temporary folder on a free port
of the loopback interface, asks for a password, and is stopped when the command has ended, however it ended. The
command finds it in ``FUSECAST_TEST_POSTGRES``. PostgreSQL refuses to run as root: then it runs as the user `postgres`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "FUSECAST_TEST_POSTGRES"
USER = "shop"


def find_programs() -> Path:
    """Return the folder of the newest server's programs, after installing Debian's package where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if folders:
        return folders[-1]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit("PostgreSQL is not installed, and cannot be installed here")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # Debian's own server is not started
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql"]
    subprocess.run(install, check=True, env=quiet, stdout=subprocess.DEVNULL)
    return find_programs()


def as_server_user(words: Sequence[str]) -> list[str]:
    """Return a command that runs another as a user that is not root."""
    return ["runuser", "-u", "postgres", "--", *words] if os.geteuid() == 0 else list(words)


@contextmanager
def serve() -> Iterator[str]:
    """Start a server; give its URL, with user and password."""
    programs = find_programs()
    password = secrets.token_urlsafe(12)
    with tempfile.TemporaryDirectory(prefix="fusecast-postgres-") as scratch:
        folder = Path(scratch)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        secret = folder / "password"
        secret.write_text(password, encoding="utf-8")
        secret.chmod(0o644)
        data = str(folder / "data")
        init = ["--auth=scram-sha-256", "-U", USER, f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            as_server_user([str(programs / "initdb"), "-D", data, *init]),
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off"
        control = [str(programs / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log")]
        subprocess.run(
            as_server_user([*control, "-o", options, "start"]), check=True, stdout=subprocess.DEVNULL, cwd=folder
        )
        try:
            yield f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"
        finally:
            stop = as_server_user([*control, "-m", "immediate", "stop"])
            subprocess.run(stop, check=True, stdout=subprocess.DEVNULL, cwd=folder)


def main(words: Sequence[str]) -> int:
    """Run a command while a server runs; return its exit code."""
    with serve() as url:
        return subprocess.run(words, check=False, env=os.environ | {VARIABLE: url}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
