"""The network and its Lightning module, under the names that users of the scripts know."""

from fusecast.classic.metrics import MetricsCallback
from fusecast.classic.module import TemporalFusionTransformerLightning
from fusecast.model.attention import InterpretableMultiHeadAttention as MultiHeadAttention
from fusecast.model.gating import GatedResidualNetwork

__all__ = [
    "GatedResidualNetwork",
    "MetricsCallback",
    "MultiHeadAttention",
    "TemporalFusionTransformerLightning",
]
