"""The structures of ``csrc/arguments.h``, with the fields that the compiled library reports; addresses of tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from typing import Any, Self

import torch
from torch import Tensor


class ReportedStructure(Structure):
    """A structure of ``csrc/arguments.h`` of the same name; it has no fields until :func:`define_structures`."""

    def __new__(cls, *args: Any, **fields: Any) -> Self:
        """Refuse an instance before that: for ctypes, the structure would be an empty one from then on."""
        assert hasattr(cls, "_fields_"), "library() has to be called first"
        return super().__new__(cls, *args, **fields)


class Dropout(ReportedStructure):
    """The share to drop in 65536ths, the scale of what is kept, and the seed."""

    @classmethod
    def draw(cls, share: float) -> Dropout:
        """Draw a seed from torch's generator; a share of 0 draws nothing."""
        threshold = round(share * 65536)
        if threshold == 0:
            return cls(seed=0, threshold=0, scale=1.0)
        seed = int(torch.empty((), dtype=torch.int64).random_())
        return cls(seed=seed, threshold=threshold, scale=65536 / (65536 - threshold))


class GrnParameters(ReportedStructure):
    """Pointers to the parameters of a gated residual network, or to their gradients."""

    @classmethod
    def point_to(cls, tensors: Sequence[Tensor | None]) -> GrnParameters:
        """Point to weight and bias of hidden map, gate and norm; the caller keeps the tensors alive."""
        names = ("hidden_weight", "hidden_bias", "gate_weight", "gate_bias", "gain", "shift")
        return cls(**{n: None if t is None else t.data_ptr() for n, t in zip(names, tensors, strict=True)})


class GrnArguments(ReportedStructure):
    """Arguments of ``grn.c``."""


class SelectionArguments(ReportedStructure):
    """Arguments of ``variable_selection.c``."""


class LstmArguments(ReportedStructure):
    """Arguments of ``lstm.c``."""


class AttentionArguments(ReportedStructure):
    """Arguments of ``attention.c``."""


class PackedMap(ReportedStructure):
    """A linear map of ``decoder.c``."""


class PackedGate(ReportedStructure):
    """A gate of ``decoder.c`` and the norm that follows it."""


class DecoderArguments(ReportedStructure):
    """Arguments of ``decoder.c``."""


class AdamWArguments(ReportedStructure):
    """Arguments of ``adamw.c``."""


class GatherArguments(ReportedStructure):
    """Arguments of ``gather.c``."""


class OrderArguments(ReportedStructure):
    """Arguments of ``sampler.c``."""


STRUCTURES: tuple[type[Structure], ...] = tuple(ReportedStructure.__subclasses__())

C_TYPES: dict[str, type] = {
    "int32_t": c_int32,
    "int64_t": c_int64,
    "uint32_t": c_uint32,
    "uint64_t": c_uint64,
    "float": c_float,
    "double": c_double,
    "pointer": c_void_p,
}


class _ReportedField(Structure):
    """One line of the table in ``layout.c``: a field, or a whole structure where the names of field and type are ""."""

    _fields_ = (
        ("structure", c_char_p), ("field", c_char_p), ("type", c_char_p), ("offset", c_int64), ("size", c_int64),
    )  # fmt: skip


def define_structures(library: ctypes.CDLL, structures: Sequence[type[Structure]] = STRUCTURES) -> None:
    """Define the fields of the structures, which are final then, by the table that a compiled library reports.

    Raise a ValueError where that is wrong: it lacks a structure, ctypes would lay the fields out differently, or a
    structure has been defined otherwise before; an AttributeError where the library has no table.
    """
    report = library.fusecast_layouts
    report.argtypes, report.restype = [POINTER(c_int64)], POINTER(_ReportedField)
    count = c_int64()
    lines = report(ctypes.byref(count))[: count.value]
    types = C_TYPES | {structure.__name__: structure for structure in structures}
    for structure in structures:
        name = structure.__name__
        reported = [line for line in lines if line.structure.decode() == name]
        if not reported:
            raise ValueError(f"{name} is absent in C")
        whole, *fields = reported
        layout = [(field.field.decode(), types[field.type.decode()]) for field in fields]
        if not hasattr(structure, "_fields_"):
            structure._fields_ = layout
        if structure._fields_ != layout:
            raise ValueError(f"{name} has other fields than in the library that was loaded before")
        if ctypes.sizeof(structure) != whole.size:
            raise ValueError(f"{name} has {whole.size} bytes in C, {ctypes.sizeof(structure)} by its fields")
        for (field_name, _), field in zip(layout, fields, strict=True):
            position = getattr(structure, field_name)
            if (position.offset, position.size) != (field.offset, field.size):
                raise ValueError(f"{name}.{field_name} is not at byte {position.offset}, but at {field.offset} in C")


def pointer(tensor: Tensor | None) -> int | None:
    """Return the address of a tensor's numbers, None for None. The tensor must be contiguous and outlive the call."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()


def pointers(**tensors: Tensor | None) -> dict[str, int | None]:
    """Return the address of each tensor, by name."""
    return {name: pointer(tensor) for name, tensor in tensors.items()}


def padded(width: int) -> int:
    """Return the width of rows in the kernels' memory: the next multiple of 16."""
    return (width + 15) // 16 * 16
