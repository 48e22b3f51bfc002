"""The Temporal Fusion Transformer of Lim, Arik, Loeff and Pfister 2021 (arXiv 1912.09363)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fusecast.errors import ConfigError
from fusecast.kernels.bindings import kernels_supported
from fusecast.kernels.decoder import Decoder, LatestDecoder
from fusecast.kernels.split_tail import with_tail
from fusecast.model.attention import InterpretableMultiHeadAttention
from fusecast.model.batch import Batch, Output
from fusecast.model.config import ModelConfig
from fusecast.model.embedding import Codebook, VariableEmbedding
from fusecast.model.gating import GateAddNorm, GatedResidualNetwork, GroupedLayerNorm
from fusecast.model.heads import make_head
from fusecast.model.lstm import SequenceToSequence
from fusecast.model.variable_selection import VariableSelection


def check_widths(config: ModelConfig, batch: Batch) -> None:
    """Raise ConfigError where a group has not as many variables as configured, or a mask not as many as its group."""
    groups = {
        "static_real": config.static_reals,
        "static_cat": len(config.static_categories),
        "past_real": config.observed_reals + config.known_reals,
        "past_cat": len(config.observed_categories) + len(config.known_categories),
        "future_real": config.known_reals,
        "future_cat": len(config.known_categories),
    }
    masks = {
        "static_real_present": config.static_reals,
        "past_real_present": groups["past_real"],
        "future_real_present": config.known_reals,
        "past_mask": batch.past_real.shape[1],
    }
    for name, width in groups.items():
        found = getattr(batch, name).shape[-1]
        if found != width:
            raise ConfigError.batch_does_not_fit(name, found, str(width))
    for name, width in masks.items():
        found = getattr(batch, name).shape[-1]
        if found not in (0, width):
            raise ConfigError.batch_does_not_fit(name, found, f"{width}, or 0 for nothing missing,")


class StaticContexts(NamedTuple):
    """What the static variables tell the rest of the network, ``[B, d]`` each; None without static variables."""

    selection: Tensor | None = None  # c_s in the paper
    enrichment: Tensor | None = None  # c_e
    hidden: Tensor | None = None  # c_h
    cell: Tensor | None = None  # c_c


class StaticEncoder(nn.Module):
    """Select among the static variables, and make the four contexts of the selected vector (section 4.3).

    Where there is nothing to select (``ModelConfig.contexts_without_static``), the contexts are those of zeros.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, dropout = config.hidden_size, config.dropout
        self.embedding = VariableEmbedding(config.static_reals, config.static_categories, d)
        self.select = (
            _selection(config, config.static_reals, config.static_categories, has_context=False)
            if config.num_static
            else None
        )
        self.contexts = nn.ModuleDict(
            {name: GatedResidualNetwork(d, d, d, dropout=dropout) for name in StaticContexts._fields}
        )

    def forward(self, reals: Tensor, codes: Tensor, present: Tensor | None) -> tuple[StaticContexts, Tensor]:
        """Encode ``reals [B, Vr]`` and ``codes [B, Vc]``: the contexts, and the selection weights ``[B, V]``."""
        if self.select is None:
            lines = self.embedding.real_weight  # [0, d]
            selected, weights = reals @ lines, reals
        else:
            selected, weights = self.select(
                self.embedding.codebook(),
                reals.unsqueeze(1),
                codes.unsqueeze(1),
                present=None if present is None else present.unsqueeze(1),
            )
            selected, weights = selected.squeeze(1), weights.squeeze(1)
        return StaticContexts(**{name: grn(selected) for name, grn in self.contexts.items()}), weights


class TemporalFusionTransformer(nn.Module):
    """Forecast quantiles of the targets over the horizon, and show what they rest on.

    Dropout acts where the paper has it: on the inner layer of every gated residual network before its gate, on the
    outputs of the LSTM and of the attention before theirs, and on the attention weights; between LSTM layers where
    there are several. The last gate has none, as in the paper's code.

    Masked values and steps never influence an output. Known variables have one embedding for past and future.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        d, dropout, has_contexts = config.hidden_size, config.dropout, config.has_contexts
        self.static = StaticEncoder(config) if has_contexts else None
        self.embedding = VariableEmbedding(
            config.observed_reals + config.known_reals, (*config.observed_categories, *config.known_categories), d
        )
        self.select_past = _selection(
            config,
            config.observed_reals + config.known_reals,
            (*config.observed_categories, *config.known_categories),
            has_context=has_contexts,
        )
        self.select_future = (
            _selection(config, config.known_reals, config.known_categories, has_context=has_contexts)
            if config.num_future
            else None
        )
        self.recurrence = SequenceToSequence(d, config.num_lstm_layers, dropout=dropout)
        self.after_recurrence = GateAddNorm(d, dropout=dropout)
        self.enrich = GatedResidualNetwork(d, d, d, has_context=has_contexts, dropout=dropout)
        self.attention = InterpretableMultiHeadAttention(
            d, config.num_heads, dropout=dropout, bias=config.attention_bias, mask=config.attention_mask
        )
        self.after_attention = GateAddNorm(d, dropout=dropout)
        self.position_wise = GatedResidualNetwork(d, d, d, dropout=dropout)
        self.before_head = GateAddNorm(d, dropout=0.0)
        self.head = make_head(config)
        self._decoder = LatestDecoder()
        for module in self.modules():
            if isinstance(module, nn.LayerNorm | GroupedLayerNorm):
                module.eps = config.layer_norm_eps

    def forward(self, batch: Batch, levels: Sequence[float] | None = None) -> Output:
        """Forecast the windows of a batch; shapes as in :mod:`fusecast.model.batch`.

        H and L are those of the batch. Raises ConfigError where the batch has other variables than configured.

        Parameters
        ----------
        levels
            Quantile levels, which a head with a distribution can give at will: None for those configured, an empty
            list for none, which saves their work.
        """
        check_widths(self.config, batch)
        past_mask = batch.past_mask if batch.past_mask.shape[-1] else None
        contexts, static_weights = self.encode_static(batch)
        past, past_weights = self.select_past(
            self.past_codebook,
            batch.past_real,
            batch.past_cat,
            present=past_presence(batch),
            context=contexts.selection,
        )
        if self.select_future is None:
            B, H = batch.future_real.shape[:2]
            future = batch.past_real.new_zeros(B, H, self.config.hidden_size)
            future_weights = batch.past_real.new_zeros(B, H, 0)
        else:
            future, future_weights = self.select_future(
                self.future_codebook,
                batch.future_real,
                batch.future_cat,
                present=future_presence(batch),
                context=contexts.selection,
            )
        quantiles, attention, parameters = self.decode(
            past, future, contexts, past_mask, units=(batch.center, batch.scale), levels=levels
        )
        return Output(
            quantiles=quantiles,
            static_weights=static_weights,
            past_weights=past_weights,
            future_weights=future_weights,
            attention=attention,
            parameters=parameters,
        )

    @property
    def past_codebook(self) -> Codebook:
        """What the values of the past variables stand for."""
        return self.embedding.codebook()

    @property
    def future_codebook(self) -> Codebook:
        """What the values of the future variables stand for: the known ones, as in the past."""
        config = self.config
        return self.embedding.codebook(first_real=config.observed_reals, first_category=len(config.observed_categories))

    def encode_static(self, batch: Batch) -> tuple[StaticContexts, Tensor]:
        """Give the static contexts, and the selection weights ``[B, V]`` of the static variables."""
        if self.static is None:
            return StaticContexts(), batch.past_real.new_zeros(batch.past_real.shape[0], 0)
        present = _present(batch.static_real_present, batch.static_real, batch.static_cat, None)
        contexts, weights = self.static(batch.static_real, batch.static_cat, present)
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
        """Forecast from the selected vectors ``past [B, L, d]`` and ``future [B, H, d]``.

        Parameters
        ----------
        units
            `center` and `scale` ``[B, Y]`` of the batch.
        levels
            As in :meth:`forward`.

        Returns
        -------
        The quantiles ``[B, H, Y, Q]``, the attention ``[B, H, T]``, and the parameters ``[B, H, Y, P]``.
        """
        horizon = future.shape[1]
        decoder = self.decoder(horizon, past, future)
        if decoder is not None:
            decoded, attention = decoder(
                decoder.padded(past).contiguous(),
                decoder.padded(future).contiguous(),
                hidden=contexts.hidden,
                cell=contexts.cell,
                context=self.enrichment(contexts).expand(len(past), -1),
                past_mask=past_mask,
            )
            quantiles, parameters = self.head.forecast(decoded, *units, levels)
            return quantiles, attention, parameters
        selected = torch.cat((past, future), dim=1)
        remembered = self.recurrence(past, future, hidden=contexts.hidden, cell=contexts.cell, past_mask=past_mask)
        local, local_ahead = with_tail(self.after_recurrence(remembered, selected), horizon)
        context = None if contexts.enrichment is None else contexts.enrichment.unsqueeze(1)
        enriched, enriched_ahead = with_tail(self.enrich(local, context), horizon)
        attended, attention = self.attention(enriched, enriched_ahead, past_mask)

        # From here on only the steps of the horizon are needed.
        fused = self.after_attention(attended, enriched_ahead)
        decoded = self.before_head(self.position_wise(fused), local_ahead)
        quantiles, parameters = self.head.forecast(decoded, *units, levels)
        return quantiles, attention, parameters

    def decoder(self, horizon: int, *inputs: Tensor) -> Decoder | None:
        """Give what decodes in one pass, for prediction on a CPU; None where that must be done module by module."""
        if self.training or torch.is_grad_enabled() or not kernels_supported(self.head.projection.weight, *inputs):
            return None
        return self._decoder.of(self, horizon)

    def enrichment(self, contexts: StaticContexts) -> Tensor:
        """Give what the enrichment adds to its first map of each step: ``[B, d]``, or ``[1, d]`` for all windows."""
        from_input, from_context = self.enrich.from_input, self.enrich.from_context
        bias = from_input.bias.unsqueeze(0)
        if from_context is None or contexts.enrichment is None:
            return bias
        of_context: Tensor = from_context(contexts.enrichment)
        return of_context + bias


def _selection(
    config: ModelConfig, num_reals: int, categories: Sequence[int], *, has_context: bool
) -> VariableSelection:
    return VariableSelection(
        num_reals,
        len(categories),
        config.hidden_size,
        has_context=has_context,
        dropout=config.dropout,
        variable_skip=config.variable_skip,
        skip_norm=config.selection_skip_norm,
    )


def past_presence(batch: Batch) -> Tensor | None:
    """Say which past variables are present, bool ``[B, L, V]``; None when nothing is missing."""
    steps = batch.past_mask if batch.past_mask.shape[-1] else None
    return _present(batch.past_real_present, batch.past_real, batch.past_cat, steps)


def future_presence(batch: Batch) -> Tensor | None:
    """Say which future variables are present, bool ``[B, H, V]``; None when nothing is missing."""
    return _present(batch.future_real_present, batch.future_real, batch.future_cat, None)


def _present(real_present: Tensor, reals: Tensor, codes: Tensor, steps: Tensor | None) -> Tensor | None:
    """Say which variables are present: bool ``[..., V]``, reals first, or None when nothing is missing.

    A category is always present (missing is a code of its own), save where its whole step is masked.
    """
    masked = real_present.shape[-1] > 0
    if not masked and steps is None:
        return None
    here = real_present if masked else torch.ones_like(reals, dtype=torch.bool)
    present = torch.cat((here, torch.ones_like(codes, dtype=torch.bool)), dim=-1)
    return present if steps is None else present & steps.unsqueeze(-1)
