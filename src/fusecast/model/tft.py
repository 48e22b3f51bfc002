"""The Temporal Fusion Transformer of Lim, Arik, Loeff and Pfister 2021 (arXiv 1912.09363)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fusecast.errors import ArtifactError, ConfigError
from fusecast.kernels.decoder import decode
from fusecast.kernels.library import kernels_supported
from fusecast.kernels.lstm import split_tail
from fusecast.model.attention import InterpretableMultiHeadAttention
from fusecast.model.batch import Batch, Output, find_present
from fusecast.model.config import ModelConfig
from fusecast.model.decoder import DecoderCache, DecoderLayers, FusedDecoder
from fusecast.model.embedding import EmbeddingWeights, VariableEmbedding
from fusecast.model.gating import GateAddNorm, GatedResidualNetwork, GroupedLayerNorm
from fusecast.model.heads import build_head
from fusecast.model.lstm import SequenceToSequence
from fusecast.model.variable_selection import VariableSelection


class StaticContexts(NamedTuple):
    """The four contexts of the static variables (section 4.3), ``[B, d]`` each; None without static variables."""

    selection: Tensor | None = None  # c_s in the paper
    enrichment: Tensor | None = None  # c_e
    hidden: Tensor | None = None  # c_h
    cell: Tensor | None = None  # c_c


_LIMIT: ContextVar[tuple[int, object] | None] = ContextVar("limit_of_weights", default=None)


@contextmanager
def limit_weights(numbers: int, path: object) -> Iterator[None]:
    """Refuse, within the block, to build a network with more weights than the `numbers` in the file `path`.

    The ArtifactError is raised before memory is requested: a damaged file may state any size.
    """
    token = _LIMIT.set((numbers, path))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def require_finite(weights: Mapping[str, Tensor], path: object) -> None:
    """Raise an ArtifactError with the names of tensors, of the file `path`, that hold NaN or infinite numbers."""
    names = [
        name
        for name, tensor in weights.items()
        if not bool(torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor).all())  # such as of float8
    ]
    if names:
        raise ArtifactError.not_finite(path, names)


class TemporalFusionTransformer(nn.Module):
    """Forecast quantiles of the targets over the horizon, together with the weights that explain them (section 4).

    Dropout acts where the paper has it: on the inner layer of every gated residual network before its gate, on the
    outputs of the LSTM and of the attention before theirs, and on the attention weights; between LSTM layers where
    there are several. The last gate has none, as in the paper's code.

    Masked values and steps never influence an output. Known variables have one embedding for past and future.

    Raise an ArtifactError, before memory is requested, where a saved file has fewer numbers than its sizes need.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if (limit := _LIMIT.get()) is not None and config.least_weights > limit[0]:
            raise ArtifactError.fewer_weights(limit[1], limit[0], config.least_weights)
        self.config = config
        d, dropout, has_contexts = config.hidden_size, config.dropout, config.has_contexts
        self.static = StaticEncoder(config) if has_contexts else None
        self.embedding = VariableEmbedding(config.past_reals, config.past_categories, d)
        select = partial(VariableSelection, config, has_context=has_contexts)
        self.select_past = select(config.past_reals, len(config.past_categories))
        known = config.known_reals, len(config.known_categories)
        self.select_future = select(*known) if config.num_future else None
        self.recurrence = SequenceToSequence(d, config.num_lstm_layers, dropout=dropout)
        self.after_recurrence = GateAddNorm(d, dropout=dropout)
        self.enrich = GatedResidualNetwork(d, d, d, has_context=has_contexts, dropout=dropout)
        self.attention = InterpretableMultiHeadAttention(
            d, config.num_heads, dropout=dropout, bias=config.attention_bias, mask=config.attention_mask
        )
        self.after_attention = GateAddNorm(d, dropout=dropout)
        self.position_wise = GatedResidualNetwork(d, d, d, dropout=dropout)
        self.before_head = GateAddNorm(d, dropout=0.0)
        self.head = build_head(config)
        self._decoder_cache = DecoderCache()
        for module in self.modules():
            if isinstance(module, nn.LayerNorm | GroupedLayerNorm):
                module.eps = config.layer_norm_eps

    def forward(self, batch: Batch, levels: Sequence[float] | None = None) -> Output:
        """Forecast the windows of a batch; shapes as in :mod:`fusecast.model.batch`, H and L are those of the batch.

        Parameters
        ----------
        levels
            Quantile levels, which a head with a distribution can compute freely: None for those configured, an empty
            list for none, which saves computing them.

        Raises
        ------
        ConfigError
            When the batch has other variables than configured, or the head cannot compute the levels.
        """
        validate_widths(self.config, batch)
        past_mask = batch.past_mask if batch.past_mask.shape[-1] else None
        contexts, static_weights = self.encode_static(batch)
        past, past_weights = self.select_past(
            self.past_embedding, batch.past_real, batch.past_cat, find_present(batch, "past"), contexts.selection
        )
        if self.select_future is None:
            B, H = batch.future_real.shape[:2]
            future, future_weights = (batch.past_real.new_zeros(B, H, width) for width in (self.config.hidden_size, 0))
        else:
            future, future_weights = self.select_future(
                self.future_embedding,
                batch.future_real,
                batch.future_cat,
                find_present(batch, "future"),
                contexts.selection,
            )
        quantiles, attention, parameters = self.decode(
            past, future, contexts, past_mask, units=(batch.center, batch.scale), levels=levels
        )
        return Output(quantiles, static_weights, past_weights, future_weights, attention, parameters)

    @property
    def past_embedding(self) -> EmbeddingWeights:
        """The embeddings of the past variables."""
        return self.embedding.slice_weights()

    @property
    def future_embedding(self) -> EmbeddingWeights:
        """The embeddings of the future variables: the known ones, as in the past."""
        config = self.config
        return self.embedding.slice_weights(
            first_real=config.observed_reals, first_category=len(config.observed_categories)
        )

    def encode_static(self, batch: Batch) -> tuple[StaticContexts, Tensor]:
        """Return the static contexts, and the selection weights ``[B, V]`` of the static variables."""
        if self.static is None:
            return StaticContexts(), batch.past_real.new_zeros(batch.past_real.shape[0], 0)
        contexts, weights = self.static(batch.static_real, batch.static_cat, find_present(batch, "static"))
        return contexts, weights

    def decode(
        self,
        past: Tensor,
        future: Tensor,
        contexts: StaticContexts,
        past_mask: Tensor | None,
        *,
        units: tuple[Tensor, Tensor],
        levels: Sequence[float] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Forecast from the selected vectors ``past [B, L, d]`` and ``future [B, H, d]`` (equations 17 to 23).

        `past_mask` is bool ``[B, L]``, False where a step is masked; None when none is. `units` are `center` and
        `scale` ``[B, Y]`` of the batch, `levels` are as in :meth:`forward`. Return the quantiles ``[B, H, Y, Q]``, the
        attention ``[B, H, T]``, and the parameters ``[B, H, Y, P]``.
        """
        horizon = future.shape[1]
        decoder = self.fused_decoder(horizon, past, future)
        if decoder is not None:
            decoded, attention = decode(
                decoder.weights,
                decoder.pad(past).contiguous(),
                decoder.pad(future).contiguous(),
                hidden=contexts.hidden,
                cell=contexts.cell,
                context=self.enrichment_bias(contexts).expand(len(past), -1),
                past_mask=past_mask,
            )
        else:
            selected = torch.cat((past, future), dim=1)
            states = self.recurrence(past, future, hidden=contexts.hidden, cell=contexts.cell, past_mask=past_mask)
            local, local_horizon = split_tail(self.after_recurrence(states, selected), horizon, self.enrich)
            context = None if contexts.enrichment is None else contexts.enrichment.unsqueeze(1)
            enriched, enriched_horizon = split_tail(self.enrich(local, context), horizon, self.attention)
            attended, attention = self.attention(enriched, enriched_horizon, past_mask)
            # From here on only the steps of the horizon are needed.
            fused = self.after_attention(attended, enriched_horizon)
            decoded = self.before_head(self.position_wise(fused), local_horizon)
        quantiles, parameters = self.head.forecast(decoded, *units, levels)
        return quantiles, attention, parameters

    def fused_decoder(self, horizon: int, *inputs: Tensor) -> FusedDecoder | None:
        """Return the decoder of `inputs` on a CPU in one pass, for prediction; None where it runs module by module."""
        if self.training or torch.is_grad_enabled():
            return None
        layers = DecoderLayers(**{name: getattr(self, name) for name in DecoderLayers._fields})
        if not kernels_supported(layers, *inputs) or layers.has_dropout():
            return None
        return self._decoder_cache.get(layers, self.config, horizon)

    def enrichment_bias(self, contexts: StaticContexts) -> Tensor:
        """Return what the enrichment adds to its first map of each step: ``[B, d]``, or ``[1, d]`` for all windows."""
        from_input, from_context = self.enrich.from_input, self.enrich.from_context
        bias = from_input.bias.unsqueeze(0)
        if from_context is None or contexts.enrichment is None:
            return bias
        context: Tensor = from_context(contexts.enrichment)
        return context + bias


class StaticEncoder(nn.Module):
    """Select among the static variables, and compute the four contexts of the selected vector (section 4.3).

    Where there is nothing to select (``ModelConfig.contexts_without_static``), the contexts are those of zeros.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, dropout = config.hidden_size, config.dropout
        self.embedding = VariableEmbedding(config.static_reals, config.static_categories, d)
        variables = config.static_reals, len(config.static_categories)
        self.select = VariableSelection(config, *variables, has_context=False) if config.num_static else None
        self.contexts = nn.ModuleDict(
            {name: GatedResidualNetwork(d, d, d, dropout=dropout) for name in StaticContexts._fields}
        )

    def forward(self, reals: Tensor, codes: Tensor, present: Tensor | None) -> tuple[StaticContexts, Tensor]:
        """Encode ``reals [B, Vr]`` and ``codes [B, Vc]``: the contexts, and the selection weights ``[B, V]``.

        `present` is bool ``[B, V]``, or None when nothing is missing.
        """
        if self.select is None:
            lines = self.embedding.real_weight  # [0, d]
            selected, weights = reals @ lines, reals
        else:
            present = None if present is None else present.unsqueeze(1)
            selected, weights = self.select(
                self.embedding.slice_weights(), reals.unsqueeze(1), codes.unsqueeze(1), present
            )
            selected, weights = selected.squeeze(1), weights.squeeze(1)
        return StaticContexts(**{name: grn(selected) for name, grn in self.contexts.items()}), weights


def validate_widths(config: ModelConfig, batch: Batch) -> None:
    """Raise a ConfigError when a batch has other variables than configured, or a mask of another width than theirs."""
    if not isinstance(batch, Batch):
        raise ConfigError.no_batch(type(batch).__name__)
    reals = {"static_real": config.static_reals, "past_real": config.past_reals, "future_real": config.known_reals}
    widths = reals | {
        "static_cat": len(config.static_categories),
        "past_cat": len(config.past_categories),
        "future_cat": len(config.known_categories),
    }
    masks = {f"{name}_present": width for name, width in reals.items()} | {"past_mask": batch.past_real.shape[1]}
    for name, expected in (widths | masks).items():
        width = getattr(batch, name).shape[-1]
        if width != expected and not (name in masks and width == 0):
            allowed = f"{expected}, or 0 for nothing missing" if name in masks else str(expected)
            raise ConfigError.wrong_size(f"{name} of the batch", "width", width, allowed)
