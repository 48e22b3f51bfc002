"""Where the host would wait for a GPU: seen on any machine, with tensors of the device "meta", which have no values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
LOOKS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique", "unique", "item")


class _Looks(TorchDispatchMode):
    """Fails where a value is looked at or brought to the host, and notes what is sent to the device."""

    def __init__(self, sent: list[str]) -> None:
        super().__init__()
        self.sent = sent

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        assert name not in LOOKS, f"{name} looks at a value"
        if name.startswith(("index", "_index_put_impl")):
            indices = [each for each in args[1] if each is not None] if isinstance(args[1], list | tuple) else []
            assert all(each.dtype != torch.bool for each in indices), "indexing by a mask looks at its values"
        found = func(*args, **(kwargs or {}))
        given = {each.device for each in args if isinstance(each, torch.Tensor) and each.ndim}
        if isinstance(found, torch.Tensor) and given and found.device not in given:
            assert found.device == META, f"{name} brings something to the host"
            self.sent.append(name)
        return found


class _Made(TorchFunctionMode):
    """Notes tensors made of Python numbers on the device: they are copied there, from memory that is not pinned."""

    def __init__(self, sent: list[str]) -> None:
        super().__init__()
        self.sent = sent

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor) and found.device == META:
            self.sent.append(func.__name__)
        return found


@contextmanager
def no_waiting() -> Iterator[list[str]]:
    """Refuse to look at values; give a list of what was sent from the host to the device, by which operation."""
    sent: list[str] = []
    with _Looks(sent), _Made(sent):
        yield sent
