"""Passes of networks that several requests share.

A request runs the steps of :mod:`fusecast.workflows` in a thread of its own, up to the networks. There its windows wait
for those of others, for some milliseconds and only while other requests are worked on, and one pass forecasts them all.
Forecasts do not depend on that company, bit for bit: the kernels compute row by row, and the other products, whose
last bits depend on the number of rows, are computed request by request. Where there are no kernels, and under heads
whose quantiles are found by iteration over all windows, each request has a pass of its own. On a GPU all share, and
last bits may differ.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fusecast.kernels.library import library
from fusecast.model.batch import Batch, Output
from fusecast.model.tft import TemporalFusionTransformer

MAX_WINDOWS = 512
"""Windows of a shared pass at most."""
Forward = Callable[..., Output]


@dataclass(eq=False)
class _Waiting:
    """Windows of a request that wait for a pass."""

    network: TemporalFusionTransformer
    forward: Forward
    batch: Batch
    levels: Sequence[float] | None
    output: Future[Output] = field(default_factory=Future)

    @property
    def key(self) -> tuple[object, ...]:
        """Return what windows of one pass have in common: the network, the levels, and all sizes but their number."""
        levels = None if self.levels is None else tuple(self.levels)
        return id(self.network), levels, *(tensor.shape[1:] for tensor in self.batch)

    @property
    def windows(self) -> int:
        return len(self.batch.window)

    def run(self) -> None:
        """Run the network on these windows alone."""
        try:
            self.output.set_result(self.forward(self.batch, self.levels))
        except Exception as error:  # noqa: BLE001  it is raised in the thread of the request
            self.output.set_exception(error)


class SharedPasses:
    """A thread that runs networks for the threads of requests.

    `active` returns how many requests are worked on now, `observe` takes the requests and windows of every pass.
    """

    def __init__(self, wait: float = 0.005) -> None:
        self.wait = wait
        self.active: Callable[[], int] = lambda: 1
        self.observe: Callable[[int, int], None] = lambda _requests, _windows: None
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._thread: threading.Thread | None = None

    def attach(self, networks: Iterable[TemporalFusionTransformer]) -> None:
        """Let networks run in shared passes from now on, where their forecasts stay the same."""
        for network in networks:
            on_cpu = next(network.parameters()).device.type == "cpu"
            if on_cpu and (network.config.head != "quantile" or library() is None):
                continue
            network.forward = _Submission(self, network, network.forward)  # type: ignore[method-assign]

    def submit(self, waiting: _Waiting) -> Output:
        """Return the output of windows, from a pass with others."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fusecast-passes", daemon=True)
                self._thread.start()
            self._waiting.append(waiting)
            self._changed.notify_all()
        return waiting.output.result()

    def _run(self) -> None:
        with torch.inference_mode():
            while True:
                self._run_together(self._take())

    def _take(self) -> list[_Waiting]:
        """Wait for windows, and a moment more for others that may come; return those of one pass."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            ends = time.monotonic() + self.wait
            while len(self._waiting) < self.active() and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)
            taken, windows = list[_Waiting](), 0
            for each in list(self._waiting):
                if each.key == self._waiting[0].key and (not taken or windows + each.windows <= MAX_WINDOWS):
                    taken.append(each)
                    windows += each.windows
            self._waiting = [each for each in self._waiting if each not in taken]
            return taken

    def _run_together(self, taken: Sequence[_Waiting]) -> None:
        sizes = [each.windows for each in taken]
        self.observe(len(taken), sum(sizes))
        if len(taken) == 1:
            taken[0].run()
            return
        first = taken[0]
        try:
            joined = Batch(*(torch.cat(tensors) for tensors in zip(*(each.batch for each in taken), strict=True)))
            with _SeparateProducts(first.network, sizes):
                output = first.forward(joined, first.levels)
            parts = zip(*(tensor.split(sizes) for tensor in output), strict=True)
        except Exception:  # noqa: BLE001  it is raised again for the requests that cause it
            for each in taken:
                each.run()
            return
        for each, part in zip(taken, parts, strict=True):
            each.output.set_result(Output(*part))


class _Submission:
    """The forward of a network that runs in shared passes."""

    def __init__(self, passes: SharedPasses, network: TemporalFusionTransformer, forward: Forward) -> None:
        self.passes, self.network, self.forward = passes, network, forward

    def __call__(self, batch: Batch, levels: Sequence[float] | None = None) -> Output:
        return self.passes.submit(_Waiting(self.network, self.forward, batch, levels))


class _SeparateProducts(TorchFunctionMode):
    """Compute linear maps of what has one row a window, or some, for each request apart."""

    def __init__(self, network: torch.nn.Module, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes, self.total = list(sizes), sum(sizes)
        self.weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.linear:
            rows, *others = args
            # tables of categories, which are mapped too, may have as many rows as there are windows
            if len(rows) == self.total and rows.untyped_storage().data_ptr() not in self.weights:
                return torch.cat([func(part, *others, **(kwargs or {})) for part in rows.split(self.sizes)])
        return func(*args, **(kwargs or {}))
