"""Tracing and export to ONNX. Each runs in a process of its own, which exporters in C++ may end.

The shape inference of the old exporter divides by zero (SIGFPE) where a tensor without elements is reshaped.
"""

from __future__ import annotations

import pytest
from tests.helpers.python_server import run_python

NETWORK = """
import warnings
import torch
from fusecast.model.batch import Batch, example_batch
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
warnings.simplefilter("ignore")

class Quantiles(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
    def forward(self, *fields):
        return self.network(Batch(*fields)).quantiles

config = ModelConfig(horizon=3, lookback=6, hidden_size=8, num_heads=2, **{options})
model = Quantiles(TemporalFusionTransformer(config)).eval()
batch = example_batch(config, 4)
"""
TO_ONNX = """
import io
from torch.onnx._internal.torchscript_exporter import onnx_proto_utils
try:
    import onnx
except ImportError:  # the exporter's last step, which adds functions of onnxscript, of which there are none
    onnx_proto_utils._add_onnxscript_fn = lambda content, _opsets: content
axes = {name: {0: "windows"} for name in Batch._fields}
file = io.BytesIO()
torch.onnx.export(model, tuple(batch), file, dynamo=False, input_names=list(Batch._fields), dynamic_axes=axes)
assert file.tell() > 10_000
"""
TRACE = """
traced = torch.jit.trace(model, tuple(batch))
for size, enabled in ((4, True), (1, False), (7, False)):
    other = example_batch(config, size)
    with torch.set_grad_enabled(enabled):
        torch.testing.assert_close(traced(*other), model(*other), rtol=1e-4, atol=1e-4)
"""
OPTIONS = [
    {},
    {"known_reals": 2, "static_reals": 1, "observed_categories": (3,), "num_lstm_layers": 2},
    {"known_categories": (3, 4), "static_categories": (2,), "head": "normal"},
]


@pytest.mark.parametrize("action", [TO_ONNX, TRACE], ids=["to ONNX, without dynamo", "traced"])
@pytest.mark.parametrize("options", OPTIONS, ids=["targets", "reals", "categories"])
def test_a_network_is_exported_by_the_old_tools_of_torch(action: str, options: dict[str, object]) -> None:
    code = (NETWORK + action).replace("{options}", repr(options))
    done = run_python("-c", code)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
