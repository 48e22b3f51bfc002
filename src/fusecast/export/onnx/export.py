"""Export the forecasts of a run as one ONNX file, and compare what ONNX Runtime makes of it with fusecast."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fusecast.errors import ArtifactError, ConfigError
from fusecast.evaluation.blend import stored_blend, stored_parts
from fusecast.export.onnx.graph import OnnxForecast
from fusecast.export.onnx.recurrence import OPSET
from fusecast.export.onnx.schema import describe_graph, to_metadata
from fusecast.export.onnx.verification import TOLERANCE, Comparison, compare, draw_windows
from fusecast.io.atomic import replace_file, scratch_folder
from fusecast.workflows.calibrate import stored_calibration_ahead

if TYPE_CHECKING:
    from fusecast.inference.model_bundle import Bundle

PACKAGES = ("onnx", "onnxruntime")
NOISY = ("torch.onnx", "torch._dynamo")
"""Loggers of what traces and simplifies the graph, which speak of every step."""


@dataclass(frozen=True, kw_only=True)
class OnnxExport:
    """What was written, and how far its forecasts are from those of fusecast."""

    path: Path  # of the file
    description: dict[str, Any]  # what the file says of itself
    difference: Comparison  # of its forecasts and those of fusecast
    size: int  # bytes
    int8: bool = False  # whether its weights have 8 bits

    @property
    def words(self) -> str:
        """What the comparison has found, and what a forecast of the file does not follow, in sentences."""
        found = self.difference
        windows = f"on {found.windows:,} random windows, relative to forecasts or the scale of their series"
        said = f"ONNX Runtime and fusecast differ by {found.largest:.1e} at most {windows}."
        if self.int8:
            change = f"{found.mean:.2%} on average and {found.largest:.1%} at most"
            said = f"With 8 bits forecasts change by {change} {windows}."
        if self.description["calibration"].startswith("adaptive"):
            said += " The adaptive calibration stays as it is now: outcomes after the export do not move it."
        return said


def check_exportable(bundle: Bundle, *, raw: bool) -> None:
    """Raise a ConfigError, before anything is written, where forecasts cannot be computed in a graph.

    The spreads of baselines are not saved in bundles of earlier versions.
    """
    for package in PACKAGES:
        try:
            __import__(package)
        except ImportError:
            raise ConfigError.missing_extra("the export to ONNX", package, "onnx") from None
    networks, blend = bundle.for_future, stored_blend(bundle)
    if networks.preprocessor.counted_holidays:
        reason = "they are counted in steps longer than a day, whose length the graph does not know"
        raise ConfigError.not_in_onnx("public holidays", reason, "features.country=[]")
    if blend is not None and stored_parts(bundle) is None and not raw:
        reason = f"{blend.summary}, and a run of fusecast {bundle.version} has no spreads of them"
        raise ConfigError.not_in_onnx("a blend with baselines", reason, "blend='none'", raw=True)


def export_onnx(
    path: Path, bundle: Bundle, *, explain: bool = False, raw: bool = False, int8: bool = False
) -> OnnxExport:
    """Write one ONNX file with the forecasts that a bundle makes of the future, see docs/onnx.md.

    `explain` adds the selection weights and the attention to its outputs; `raw` leaves out calibration and blend; with
    `int8` weights are stored as whole numbers, at a loss that is measured. The file is compared with the forecasts of
    the bundle on random windows before it replaces another: an ArtifactError is raised where it has others. Raise a
    ConfigError as :func:`check_exportable`.
    """
    check_exportable(bundle, raw=raw)
    conformal = None if raw else stored_calibration_ahead(bundle)
    parts = [] if raw else stored_parts(bundle) or []
    graph = OnnxForecast(bundle.for_future, conformal, parts, explain=explain)
    description = describe_graph(bundle, conformal, graph, raw=raw)
    with scratch_folder("fusecast-onnx-") as scratch:
        whole, small = scratch / "whole.onnx", scratch / "small.onnx"
        write_graph(graph, trace_inputs(graph, bundle), whole, to_metadata(description))
        difference = compare(whole, graph.inputs, bundle, conformal, parts)
        if not difference.largest <= TOLERANCE:  # not for NaN either
            raise ArtifactError.other_forecasts_in_onnx(path, difference.largest, TOLERANCE)
        if int8:
            quantize(whole, small)
            difference = compare(small, graph.inputs, bundle, conformal, parts)
        content = (small if int8 else whole).read_bytes()
        with replace_file(path) as temporary:
            temporary.write_bytes(content)
    return OnnxExport(path=path, description=description, difference=difference, size=len(content), int8=int8)


def trace_inputs(graph: OnnxForecast, bundle: Bundle) -> dict[str, torch.Tensor]:
    """Return windows to trace the graph with."""
    panel, index = draw_windows(bundle.for_future, bundle.extra["split"], seed=1)
    arrays = graph.inputs.gather(bundle.for_future.preprocessor, panel, index)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def write_graph(graph: OnnxForecast, windows: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Trace a graph with windows, any number of them, and write it with its metadata and no trace of this machine."""
    import onnx

    graph.eval()
    file = BytesIO()
    axes = {name: {0: "batch"} for name in (*windows, *graph.output_names)}
    axes |= {"history": {0: "batch", 1: "rows"}} if graph.inputs.has_history else {}
    with _quietly(), torch.no_grad():
        torch.onnx.export(
            graph,
            (windows, {}),
            file,  # type: ignore[arg-type]  # this exporter writes to files that are open, too
            dynamo=False,
            opset_version=OPSET,
            dynamic_axes=axes,
            input_names=list(windows),
            output_names=graph.output_names,
        )
    model = onnx.load_model_from_string(file.getvalue())
    for part in (model.graph, *model.functions):
        for node in part.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    model.producer_name, model.doc_string, model.graph.name = "fusecast", "", "forecast"
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def quantize(source: Path, target: Path) -> None:
    """Write a graph with the weights of its matrix products as 8-bit whole numbers."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quietly():
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence what third parties say of each step of their work."""
    levels = {name: logging.getLogger(name).level for name in (*NOISY, "root")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
