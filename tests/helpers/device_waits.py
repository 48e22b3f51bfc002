"""Detect where the host would wait for a GPU, on any machine: tensors of the device "meta" have no values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
READING_OPERATIONS = (
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique", "unique", "item",
)  # fmt: skip


class _RefuseReading(TorchDispatchMode):
    """Fail where a value is read or brought to the host, and record what is sent to the device."""

    def __init__(self, sent: list[str]) -> None:
        super().__init__()
        self.sent = sent

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        assert name not in READING_OPERATIONS, f"{name} reads a value"
        if name.startswith(("index", "_index_put_impl")):
            indices = [index for index in args[1] if index is not None] if isinstance(args[1], list | tuple) else []
            assert all(index.dtype != torch.bool for index in indices), "indexing by a mask reads its values"
        result = func(*args, **(kwargs or {}))
        devices = {arg.device for arg in args if isinstance(arg, torch.Tensor) and arg.ndim}
        if isinstance(result, torch.Tensor) and devices and result.device not in devices:
            assert result.device == META, f"{name} brings something to the host"
            self.sent.append(name)
        return result


class _RecordTensorCalls(TorchFunctionMode):
    """Record tensors built from Python numbers on the device: they are copied there from memory that is not pinned."""

    def __init__(self, sent: list[str]) -> None:
        super().__init__()
        self.sent = sent

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor) and result.device == META:
            self.sent.append(func.__name__)
        return result


@contextmanager
def no_waiting() -> Iterator[list[str]]:
    """Refuse reading of values; yield a list of the operations that sent something from the host to the device."""
    sent: list[str] = []
    with _RefuseReading(sent), _RecordTensorCalls(sent):
        yield sent
