"""The functions in C, as Python sees them: structures of pointers and sizes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_double, c_float, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from typing import Any

import torch
from torch import Tensor

from fusecast.kernels.library import library


class Parameters(Structure):
    """Pointers to the parameters of a gated residual network, or to their gradients."""

    _fields_ = [
        (name, c_void_p) for name in ("hidden_weight", "hidden_bias", "gate_weight", "gate_bias", "gain", "shift")
    ]

    @classmethod
    def of(cls, tensors: Sequence[Tensor | None]) -> Parameters:
        """Point to tensors, which the caller keeps alive."""
        return cls(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


class Dropout(Structure):
    """What to drop: the share in 65536ths, the scale of what is kept, and the seed of the choice."""

    _fields_ = [("seed", c_uint64), ("threshold", c_uint32), ("scale", c_float)]

    @classmethod
    def draw(cls, share: float) -> Dropout:
        """Draw a seed from torch's generator, so that torch's seed decides; a share of 0 draws nothing."""
        threshold = round(share * 65536)
        if threshold == 0:
            return cls(0, 0, 1.0)
        seed = int(torch.empty((), dtype=torch.int64).random_())
        return cls(seed, threshold, 65536 / (65536 - threshold))


def _fields(*groups: tuple[type, str]) -> list[tuple[str, type]]:
    return [(name, kind) for kind, names in groups for name in names.split()]


class Rows(Structure):
    """Arguments of ``rows.c``."""

    _fields_ = _fields(
        (c_int64, "rows d out repeat"),
        (c_int32, "threads may_fold"),
        (c_float, "eps"),
        (Parameters, "parameters gradients"),
        (Dropout, "dropout"),
        (c_void_p, "x context skip y kept_z kept_gates dy dx dskip"),
    )


class Selection(Structure):
    """Arguments of ``selection.c``."""

    _fields_ = _fields(
        (c_int64, "rows d reals categories entries repeat"),
        (c_int32, "threads may_fold"),
        (c_float, "eps"),
        (Parameters, "variables joint variables_gradients joint_gradients"),
        (Dropout, "dropout"),
        (c_void_p, "values present codes embedded own common context start selected weights kept_z kept_gates"),
        (c_void_p, "dselected dweights dembedded down dcommon dcontext dstart"),
    )


class Recurrence(Structure):
    """Arguments of ``lstm.c``."""

    _fields_ = _fields(
        (c_int64, "windows steps inputs d"),
        (c_int32, "threads"),
        (c_void_p, "from_input from_state bias mask x gates hidden cell output"),
        (c_void_p, "doutput dhidden dcell dgates dx dfrom_input dfrom_state dbias"),
    )


class Attention(Structure):
    """Arguments of ``attention.c``."""

    _fields_ = _fields(
        (c_int64, "windows heads horizon steps d apart"),
        (c_int32, "threads ahead"),
        (c_float, "scale"),
        (Dropout, "dropout"),
        (c_void_p, "mask query key value mixed mean dmixed dmean dquery dkey dvalue"),
    )


class Windows(Structure):
    """Arguments of ``windows.c``: windows to fill."""

    _fields_ = _fields(
        (c_int64, "windows batch series stride lookback horizon reals targets observed"),
        (c_int64, "categories observed_categories static_reals static_categories"),
        (c_int32, "scaling wrong"),
        (c_float, "floor"),
        (c_void_p, "indptr offsets cutoff real present category static_real static_present static_category"),
        (c_void_p, "center scale position number"),
        (c_void_p, "to_static_real to_past_real to_future_real to_target to_center to_scale to_weight"),
        (c_void_p, "to_static_cat to_past_cat to_future_cat"),
        (c_void_p, "to_static_real_present to_past_real_present to_future_real_present to_past_mask to_target_mask"),
        (c_void_p, "lack"),
    )


class Order(Structure):
    """Arguments of ``windows.c``: places whose numbers are asked for."""

    _fields_ = _fields(
        (c_int64, "count"),
        (c_uint64, "size left right"),
        (c_void_p, "keys"),
        (c_int64, "rounds"),
        (c_void_p, "places numbers"),
    )


class Adam(Structure):
    """Arguments of ``adam.c``."""

    _fields_ = _fields(
        (c_int64, "tensors"),
        (c_int32, "threads"),
        (c_double, "rate decay beta1 beta2 eps most norm"),
        (c_void_p, "start parameter gradient mean square steps"),
    )


class DecodeMap(Structure):
    """A linear map of ``decode.c``, packed."""

    _fields_ = _fields((c_void_p, "weight bias"))


class DecodeGate(Structure):
    """A gate of ``decode.c`` and the norm behind it."""

    _fields_ = _fields((DecodeMap, "map"), (c_void_p, "gain shift"))


class Decode(Structure):
    """Arguments of ``decode.c``."""

    _fields_ = _fields(
        (c_int64, "windows lookback horizon d dp heads layers together"),
        (c_int32, "threads folded ahead"),
        (c_float, "eps"),
        (c_int64, "past_apart future_apart past_sums_apart future_sums_apart"),
        (c_void_p, "past future past_sums future_sums hidden cell context mask from_input from_state bias"),
        (DecodeGate, "after_recurrence enrich after_attention position_wise before_head"),
        (DecodeMap, "enrich_input position_input query projection"),
        (c_void_p, "key decoded attention"),
    )


def call(name: str, arguments: Structure) -> None:
    """Call a function of the library; other Python threads run meanwhile."""
    loaded = library()
    assert loaded is not None
    function: Any = getattr(loaded, f"fusecast_{name}")
    function.argtypes = [POINTER(type(arguments))]
    function.restype = ctypes.c_int
    if function(ctypes.byref(arguments)):
        raise MemoryError(f"no memory for the kernel {name}")


def pointer(tensor: Tensor | None) -> int | None:
    """Address of a tensor's numbers; None for none. The tensor must be contiguous, and outlive the call."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()


def padded(width: int) -> int:
    """Give the width of rows in the kernels' own memory: a multiple of 16."""
    return (width + 15) // 16 * 16


def kernels_supported(*tensors: Tensor | None) -> bool:
    """Say whether kernels may compute on these: float32 on the CPU, run and not traced, and a library that loaded."""
    return (
        all(t is None or (t.dtype == torch.float32 and t.device.type == "cpu" and type(t) in PLAIN) for t in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and library() is not None
    )


PLAIN = (Tensor, torch.nn.Parameter)
"""Tensors that are numbers in memory, not the fakes and wrappers of exporters and of torch.func."""
