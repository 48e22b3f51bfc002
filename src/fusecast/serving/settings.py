"""The limits of a server, and the keys that open it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from fusecast.errors import ConfigError

KEYS = "FUSECAST_API_KEYS"
"""Environment variable of the keys, separated by commas."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one request, and all requests together, may take."""

    max_bytes: int = 32 * 2**20  # of the body of a request
    max_rows: int = 200_000  # of a table sent, and of the forecasts
    timeout: float = 30.0  # seconds from a whole request to its answer
    body_timeout: float = 10.0  # seconds from the first byte of a request to its last
    queue: int = 64  # requests that wait for a thread at most
    threads: int = 8  # requests that are worked on at once
    header_timeout: float = 10.0  # seconds in which a client must send the head of a request
    keys: tuple[str, ...] = field(default=(), repr=False)  # of which a request must have one; () where it needs none

    @property
    def max_cells(self) -> int:
        """Cells of a table at most."""
        return 20 * self.max_rows


def read_keys(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the keys in the environment; none where the variable is empty or not set."""
    return tuple(key.strip() for key in environment.get(KEYS, "").split(",") if key.strip())


def require_packages() -> None:
    """Raise a ConfigError where a package that the server needs is not installed."""
    for name in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "fastexcel"):
        if find_spec(name) is None:
            raise ConfigError.missing_extra("the server", name.replace("_", "-"), "serve")
