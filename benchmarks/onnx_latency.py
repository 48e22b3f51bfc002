"""Latency of one forecast on one core: an exported ONNX file beside PyTorch, with and without fusecast's kernels.

``python -m benchmarks.onnx_latency [--rounds 200]``. Networks have random weights, hidden size 64, 168 steps of history
and 24 to forecast, with known, observed and static columns. Each round times all kinds once, in turn; the table has
medians of the processor time, and their ratios: so other programs on the machine count little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
LOOKBACK, HORIZON, HIDDEN = 168, 24, 64


def make_bundle(members: int) -> tuple[Any, Any]:
    """Return a bundle of networks with random weights, and its prepared table."""
    import torch

    from benchmarks.folders import sales
    from fusecast import Forecaster
    from fusecast.data.splits import record_split
    from fusecast.inference.model_bundle import Bundle, Member
    from fusecast.model.tft import TemporalFusionTransformer
    from fusecast.workflows.prepare import prepare

    roles = {"static": ["region"], "observed": ["visitors"]}
    config = Forecaster(HORIZON, LOOKBACK, **roles, network={"hidden_size": HIDDEN}).config
    prepared = prepare(sales(0, 8, 1000), config)
    torch.manual_seed(0)
    scaling = prepared.preprocessor.config.window_scalings[0]
    networks = [TemporalFusionTransformer(prepared.model_config).eval() for _ in range(members)]
    extra = {"run": prepared.config.to_dict(), "split": record_split(prepared.panel, prepared.splits)}
    members_of = tuple(Member(network, scaling) for network in networks)
    return Bundle(members=members_of, preprocessor=prepared.preprocessor, extra=extra), prepared


def kinds_of(bundle: Any, prepared: Any, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name: each makes one forecast from one raw window."""
    import numpy as np
    import onnxruntime
    import torch

    from fusecast.export.onnx.export import export_onnx
    from fusecast.export.onnx.inputs import GraphInputs
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.windows.gatherer import make_gatherer
    from fusecast.windows.window_index import WindowIndex

    whole, small = folder / "whole.onnx", folder / "small.onnx"
    sizes = [export_onnx(whole, bundle), export_onnx(small, bundle, int8=True)]
    for each in sizes:
        print(f"{each.path.name}: {each.size / 1e6:.1f} MB. {each.words}")
    cutoff = prepared.panel.lengths - HORIZON
    last = np.where(np.arange(len(cutoff)) == 0, cutoff, cutoff - 1)  # of the first series alone
    index = WindowIndex(first_cutoff=cutoff, last_cutoff=last, lookback=LOOKBACK, horizon=HORIZON)
    inputs = GraphInputs.of(bundle.preprocessor).gather(bundle.preprocessor, prepared.panel, index)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    predictor = EnsemblePredictor.from_bundle(bundle, "cpu")
    encoded = prepared.encoded
    gather = make_gatherer(encoded, index)
    network = bundle.members[0].network

    def session(path: Path) -> Callable[[], Any]:
        opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda: opened.run(["forecast"], inputs)

    def network_alone() -> Any:
        with torch.inference_mode():
            return network(gather([0]))

    return {
        "onnx": session(whole),
        "onnx int8": session(small),
        "fusecast, whole": lambda: predictor.predict(encoded, index),
        "fusecast, network alone": network_alone,
    }


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--members", type=int, default=1)
    words = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    bundle, prepared = make_bundle(words.members)
    with tempfile.TemporaryDirectory() as scratch:
        kinds = kinds_of(bundle, prepared, Path(scratch))
        spent: dict[str, list[float]] = {name: [] for name in kinds}
        for number in range(words.rounds + 10):
            for name, forecast in kinds.items():
                began = time.process_time()
                forecast()
                if number >= 10:  # the first ones prepare
                    spent[name].append(1000 * (time.process_time() - began))
    first = statistics.median(spent["onnx"])
    for name, times in spent.items():
        median, least = statistics.median(times), min(times)
        print(f"{name:24} median {median:7.2f} ms, least {least:7.2f} ms, {median / first:5.2f} of onnx")


if __name__ == "__main__":
    main()
