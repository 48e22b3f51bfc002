"""Arithmetic and memory traffic of the network, counted by hand: what a machine could do at best.

Counted, not measured: torch's own counter does not see LSTMs and fused kernels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fusecast.model.config import ModelConfig

# Part of a device's name -> dense FLOP/s in bf16 or fp16, FLOP/s in TF32, bytes/s of memory, as its maker states.
PEAKS = {
    "H100": (989e12, 494e12, 3.35e12),
    "H200": (989e12, 494e12, 4.8e12),
    "A100": (312e12, 156e12, 2.0e12),
    "L4": (121e12, 60e12, 0.3e12),
}
BACKWARD = 3  # forward and backward together, in forwards: a product is done once more for each of its two inputs


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step has to do for each window."""

    flops: float  # floating-point operations of the products that need doing (section 5 of the design)
    paper_flops: float  # those of the network as it is written in the paper
    least_bytes: float  # in float32, if each activation that has to be kept goes to memory once and comes back

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def count(config: ModelConfig, *, training: bool) -> Work:
    """Count the work of one window: forward, and backward as well in training."""
    times = BACKWARD if training else 1
    return Work(
        flops=folded_flops(config) * times,
        paper_flops=paper_flops(config) * times,
        least_bytes=least_bytes(config, training=training),
    )


def paper_flops(config: ModelConfig) -> float:
    """Operations of one forward pass as published: two for each multiply-add.

    Every variable's embedding goes through its own gated residual network, the joint one sees all V embeddings
    (V*d x d, with a skip of V*d x V), and attention is computed for every step.
    """
    d, L, H = config.hidden_size, config.lookback, config.horizon
    T, head = L + H, d // config.num_heads

    def grn(d_in: int, d_out: int, *, context: bool = False) -> int:
        skip = 0 if d_in == d_out else d_in * d_out
        return d_in * d + (d * d if context else 0) + d * d + 2 * d * d_out + skip

    def selection(variables: int, *, context: bool) -> int:
        return variables * (d + grn(d, d)) + grn(variables * d, variables, context=context) if variables else 0

    static = config.num_static > 0
    total = selection(config.num_static, context=False) + (4 * grn(d, d) if static else 0)
    total += L * selection(config.num_past, context=static) + H * selection(config.num_future, context=static)
    total += T * config.num_lstm_layers * 8 * d * d
    total += T * 3 * 2 * d * d  # the gates after LSTM, attention and position-wise network
    total += T * grn(d, d, context=static) + T * grn(d, d)  # enrichment, position-wise
    total += T * (2 * d * d + d * head + head * d) + T * T * (d + head)  # projections; scores and their use
    return 2.0 * (total + T * d * config.num_targets * len(config.quantiles))


def folded_flops(config: ModelConfig) -> float:
    """Operations that are left when first linears are folded into embeddings and only the horizon attends."""
    d, L, H = config.hidden_size, config.lookback, config.horizon
    T, head = L + H, d // config.num_heads

    def selection(variables: int) -> int:
        own = variables * (2 * d + 3 * d * d)  # x*(W e) + b and x*e + b; two products, d x d and d x 2d
        joint = variables * d + d * d + 2 * d * variables + variables * variables
        return own + joint if variables else 0

    total = selection(config.num_static) + (4 * 4 * d * d + 2 * d * d if config.num_static else 0)
    total += L * selection(config.num_past) + H * selection(config.num_future)
    total += T * config.num_lstm_layers * 8 * d * d + T * 2 * d * d + T * 4 * d * d  # LSTM, its gate, enrichment
    total += T * (d * d + d * head) + H * (d * d + head * d) + H * T * (d + head)  # attention
    total += H * (2 + 4 + 2) * d * d + H * d * config.num_targets * len(config.quantiles)
    return 2.0 * total


def least_bytes(config: ModelConfig, *, training: bool) -> float:
    """Bytes that a network fused as far as its sequential parts allow has to move for a window, in float32.

    Between selection, LSTM, enrichment and attention a window's [T, d] goes to memory and comes back. Training keeps,
    of every variable's gated residual network, its inner layer and its gate for the backward pass.
    """
    d, L, H = config.hidden_size, config.lookback, config.horizon
    T = L + H
    inputs = L * config.num_past + H * (config.num_future + config.num_targets) + config.num_static
    between = 2 * T * d * (1 + config.num_lstm_layers + 1 + 2)  # selected, LSTM, enriched, keys and values
    if not training:
        return 4.0 * (inputs + between)
    variables = (L * config.num_past + H * config.num_future) * 3 * d
    recurrent = T * config.num_lstm_layers * 5 * d  # four gates and the cell
    rest = T * 2 * 4 * d + H * 12 * d + config.num_heads * H * T
    return 4.0 * (inputs + 2 * between + 2 * (variables + recurrent + rest))


def best_rate(work: Work, device: str, *, half: bool) -> dict[str, float] | None:
    """Windows a second that a device of this name could do at best; None for one whose peaks are not known here."""
    for name, (half_peak, full_peak, bandwidth) in PEAKS.items():
        if name in device:
            by_flops = (half_peak if half else full_peak) / work.flops
            by_bytes = bandwidth / (work.least_bytes * (0.5 if half else 1.0))
            return {"by_flops": by_flops, "by_bytes": by_bytes, "windows_per_s": min(by_flops, by_bytes)}
    return None
