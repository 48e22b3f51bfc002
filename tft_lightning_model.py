"""The network and its Lightning module, under the names that users of the scripts know."""

from fusecast.compat.lightning_scripts.metrics_callback import MetricsCallback
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.model.attention import InterpretableMultiHeadAttention as MultiHeadAttention
from fusecast.model.gating import GatedResidualNetwork

__all__ = [
    "GatedResidualNetwork",
    "MetricsCallback",
    "MultiHeadAttention",
    "TemporalFusionTransformerLightning",
]
