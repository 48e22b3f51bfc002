"""The process of a server."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve an application until a signal ends the process."""
    uvicorn.Server(uvicorn.Config(app, host=host, port=port)).run()
