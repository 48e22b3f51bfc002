"""The network and its Lightning module, under the names that users of the scripts know."""

from pathlib import Path

try:
    from fusecast.compat.lightning_scripts.metrics_callback import MetricsCallback
    from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
    from fusecast.model.attention import InterpretableMultiHeadAttention as MultiHeadAttention
    from fusecast.model.gating import GatedResidualNetwork
except ImportError as error:
    command = f'pip install -e "{Path(__file__).resolve().parent}"'
    raise ImportError(f"{error}\nHint: {command}   installs fusecast and all that it needs") from error

__all__ = [
    "GatedResidualNetwork",
    "MetricsCallback",
    "MultiHeadAttention",
    "TemporalFusionTransformerLightning",
]
