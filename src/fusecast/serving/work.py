"""A bounded number of threads, and of requests that wait for them, each with a deadline."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from fusecast.serving.errors import RequestError
from fusecast.serving.settings import Settings

Result = TypeVar("Result")


class Workers:
    """Threads that work on requests, in the order of their arrival."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pending = 0  # requests that wait or are worked on
        self.active = 0  # requests that are worked on
        self._lock = threading.Lock()
        self._seconds = 0.1  # of a recent request, on average
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="fusecast-request")

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return the result of a function; raise a RequestError where too many are waiting, or it takes too long."""
        if self.pending >= self.settings.threads + self.settings.queue:
            raise RequestError.queue_full(math.ceil(self.pending * self._seconds / self.settings.threads))
        self.pending += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(self._timed, work)
        future.add_done_callback(lambda ended: loop.call_soon_threadsafe(self._finish, ended))
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise RequestError.deadline(self.settings.timeout) from None

    def close(self) -> None:
        """Wait for what is being worked on."""
        self._pool.shutdown(cancel_futures=True)

    def _timed(self, work: Callable[[], Result]) -> Result:
        began = time.monotonic()
        with self._lock:
            self.active += 1
        try:
            return work()
        finally:
            with self._lock:
                self.active -= 1
            self._seconds += 0.1 * (time.monotonic() - began - self._seconds)

    def _finish(self, _: Future[Any]) -> None:
        self.pending -= 1
