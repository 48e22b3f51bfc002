"""The structures of ``csrc/arguments.h`` as Python passes them, and the check that both sides agree on their layout."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_uint32, c_uint64, c_void_p

import torch
from torch import Tensor


def _fields(*groups: tuple[type, str]) -> list[tuple[str, type]]:
    return [(name, kind) for kind, names in groups for name in names.split()]


class MirroredStructure(Structure):
    """A structure of ``csrc/arguments.h`` of the same name."""


class Dropout(MirroredStructure):
    """The share to drop in 65536ths, the scale of what is kept, and the seed."""

    _fields_ = _fields((c_uint64, "seed"), (c_uint32, "threshold"), (c_float, "scale"))

    @classmethod
    def draw(cls, share: float) -> Dropout:
        """Draw a seed from torch's generator; a share of 0 draws nothing."""
        threshold = round(share * 65536)
        if threshold == 0:
            return cls(0, 0, 1.0)
        seed = int(torch.empty((), dtype=torch.int64).random_())
        return cls(seed, threshold, 65536 / (65536 - threshold))


class GrnParameters(MirroredStructure):
    """Pointers to the parameters of a gated residual network, or to their gradients."""

    _fields_ = _fields((c_void_p, "hidden_weight hidden_bias gate_weight gate_bias gain shift"))

    @classmethod
    def point_to(cls, tensors: Sequence[Tensor | None]) -> GrnParameters:
        """Point to tensors, which the caller keeps alive."""
        return cls(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


class GrnArguments(MirroredStructure):
    """Arguments of ``grn.c``."""

    _fields_ = _fields(
        (c_int64, "rows d out repeat"),
        (c_int32, "threads may_fold"),
        (c_float, "eps"),
        (GrnParameters, "parameters gradients"),
        (Dropout, "dropout"),
        (c_void_p, "x context skip y saved_z saved_gates dy dx dskip"),
    )


class SelectionArguments(MirroredStructure):
    """Arguments of ``variable_selection.c``."""

    _fields_ = _fields(
        (c_int64, "rows d reals categories entries repeat"),
        (c_int32, "threads may_fold"),
        (c_float, "eps"),
        (GrnParameters, "variables joint variables_gradients joint_gradients"),
        (Dropout, "dropout"),
        (c_void_p, "values present codes embedded variable_input joint_input context joint_bias selected weights"),
        (c_void_p, "saved_z saved_gates dselected dweights"),
        (c_void_p, "dembedded dvariable_input djoint_input dcontext djoint_bias"),
    )


class LstmArguments(MirroredStructure):
    """Arguments of ``lstm.c``."""

    _fields_ = _fields(
        (c_int64, "windows steps inputs d"),
        (c_int32, "threads"),
        (c_void_p, "from_input from_state bias mask x gates hidden cell output"),
        (c_void_p, "doutput dhidden dcell dgates dx dfrom_input dfrom_state dbias"),
    )


class AttentionArguments(MirroredStructure):
    """Arguments of ``attention.c``."""

    _fields_ = _fields(
        (c_int64, "windows heads horizon steps d row_stride"),
        (c_int32, "threads ahead"),
        (c_float, "scale"),
        (Dropout, "dropout"),
        (c_void_p, "mask query key value mixed mean dmixed dmean dquery dkey dvalue"),
    )


class PackedMap(MirroredStructure):
    """A linear map of ``decoder.c``."""

    _fields_ = _fields((c_void_p, "weight bias"))


class PackedGate(MirroredStructure):
    """A gate of ``decoder.c`` and the norm that follows it."""

    _fields_ = _fields((PackedMap, "map"), (c_void_p, "gain shift"))


class DecoderArguments(MirroredStructure):
    """Arguments of ``decoder.c``."""

    _fields_ = _fields(
        (c_int64, "windows lookback horizon d dp heads layers group_size"),
        (c_int32, "threads folded ahead"),
        (c_float, "eps"),
        (c_int64, "past_stride future_stride past_sums_stride future_sums_stride"),
        (c_void_p, "past future past_sums future_sums hidden cell context mask from_input from_state bias"),
        (PackedGate, "after_recurrence enrich after_attention position_wise before_head"),
        (PackedMap, "enrich_input position_input query projection"),
        (c_void_p, "key decoded attention"),
    )


class AdamWArguments(MirroredStructure):
    """Arguments of ``adamw.c``."""

    _fields_ = _fields(
        (c_int64, "tensors"),
        (c_int32, "threads"),
        (c_double, "rate decay beta1 beta2 eps max_norm norm"),
        (c_void_p, "offsets parameter gradient mean square steps"),
    )


class GatherArguments(MirroredStructure):
    """Arguments of ``gather.c``."""

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


class OrderArguments(MirroredStructure):
    """Arguments of ``sampler.c``."""

    _fields_ = _fields(
        (c_int64, "count"),
        (c_uint64, "size left right"),
        (c_void_p, "keys"),
        (c_int64, "rounds"),
        (c_void_p, "places numbers"),
    )


STRUCTURES: tuple[type[Structure], ...] = tuple(MirroredStructure.__subclasses__())


class _ReportedLayout(Structure):
    """One line of the table in ``layout.c``: a field, or a whole structure where the field's name is empty."""

    _fields_ = _fields((c_char_p, "structure field"), (c_int64, "offset size"))


def find_layout_mismatches(
    library: ctypes.CDLL, structures: Sequence[type[Structure]] = STRUCTURES
) -> list[tuple[str, str]]:
    """Compare sizes and offsets of all structures and fields with those that a compiled library reports.

    Returns
    -------
    For each structure or field that differs, or that one side lacks: its name (``Structure.field``), and a sentence.
    """
    report = library.fusecast_layouts
    report.argtypes, report.restype = [POINTER(c_int64)], POINTER(_ReportedLayout)
    count = c_int64()
    table = report(ctypes.byref(count))
    in_c = {
        f"{line.structure.decode()}.{line.field.decode()}": (line.offset, line.size)
        for line in (table[i] for i in range(count.value))
    }
    in_python = {f"{structure.__name__}.": (0, ctypes.sizeof(structure)) for structure in structures} | {
        f"{structure.__name__}.{name}": (getattr(structure, name).offset, getattr(structure, name).size)
        for structure in structures
        for name, *_ in structure._fields_
    }
    return [
        (name.rstrip("."), f"{_describe(in_c.get(name))} in C, {_describe(in_python.get(name))} in Python")
        for name in dict.fromkeys((*in_python, *in_c))
        if in_c.get(name) != in_python.get(name)
    ]


def _describe(layout: tuple[int, int] | None) -> str:
    return "absent" if layout is None else f"{layout[1]} bytes at {layout[0]}"


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
