"""The Temporal Fusion Transformer as in its paper: one window, one step, one variable, one head at a time.

Slow and obvious on purpose. It takes the network's parameters by name, in float64, and shares no code with it.
Equation numbers are those of arXiv 1912.09363. No dropout.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fusecast.model.batch import Batch, Output
from fusecast.model.config import ModelConfig

Parameters = dict[str, Tensor]


class Reference:
    """The network of a config and its parameters; gradients flow to the parameters."""

    def __init__(self, config: ModelConfig, parameters: Parameters) -> None:
        self.config = config
        self.p = parameters
        self.d = config.hidden_size

    def __call__(self, batch: Batch) -> Output:
        windows = [self.window(batch, b) for b in range(batch.past_real.shape[0])]
        return Output(*(torch.stack(parts) for parts in zip(*windows, strict=True)))

    # --- the building blocks -------------------------------------------------------------------------------------

    def linear(self, name: str, x: Tensor, v: int | None = None) -> Tensor:
        """W x + b; `v` picks one variable of a stack."""
        weight, bias = self.p[f"{name}.weight"], self.p.get(f"{name}.bias")
        if v is not None:
            weight, bias = weight[v], None if bias is None else bias[v]
        return weight @ x if bias is None else weight @ x + bias

    def norm(self, name: str, x: Tensor, v: int | None = None) -> Tensor:
        gain, shift = self.p[f"{name}.weight"], self.p[f"{name}.bias"]
        if v is not None:
            gain, shift = gain[v], shift[v]
        centred = x - x.mean()
        return centred / torch.sqrt((centred**2).mean() + self.config.layer_norm_eps) * gain + shift

    def glu(self, name: str, x: Tensor, v: int | None = None) -> Tensor:
        """Equation 5."""
        values, gates = self.linear(name, x, v).chunk(2)
        return torch.sigmoid(gates) * values

    def grn(self, name: str, x: Tensor, context: Tensor | None = None, skip_norm: str | None = None) -> Tensor:
        """Equations 2 to 4; `skip_norm` names a norm for the residual, if configured."""
        inner = self.linear(f"{name}.from_input", x)
        if context is not None:
            inner = inner + self.linear(f"{name}.from_context", context)
        inner = self.linear(f"{name}.hidden", elu(inner))
        skip = self.linear(f"{name}.skip", x) if f"{name}.skip.weight" in self.p else x
        if skip_norm is not None:
            skip = self.norm(skip_norm, skip)
        return self.norm(f"{name}.norm", skip + self.glu(f"{name}.gate.projection", inner))

    def variable_grn(self, name: str, x: Tensor, v: int, real: bool) -> Tensor:
        """Equations 2 to 4 for one variable's own network."""
        inner = self.linear(f"{name}.hidden", elu(self.linear(f"{name}.from_input", x, v)), v)
        skip = x
        if self.config.variable_skip != "identity":
            skip = self.p[f"{name}.skip_weight"][v] @ skip
        if self.config.variable_skip == "normalised" and real:
            skip = self.norm(f"{name}.skip_norm", skip, v)
        return self.norm(f"{name}.norm", skip + self.glu(f"{name}.gate", inner, v), v)

    def gate_add_norm(self, name: str, x: Tensor, residual: Tensor) -> Tensor:
        return self.norm(f"{name}.norm", residual + self.glu(f"{name}.gate.projection", x))

    def embed_real(self, name: str, v: int, x: Tensor) -> Tensor:
        return x * self.p[f"{name}.real_weight"][v] + self.p[f"{name}.real_bias"][v]

    def embed_category(self, name: str, cardinalities: tuple[int, ...], v: int, code: Tensor) -> Tensor:
        tables = torch.split(self.p[f"{name}.table"], list(cardinalities))
        return tables[v][int(code)]

    def select(
        self, name: str, embedded: list[Tensor], num_reals: int, present: list[bool], context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Equations 6 to 8, over the variables present."""
        skip_norm = f"{name}.skip_norm" if self.config.selection_skip_norm else None
        shown = [e if here else torch.zeros_like(e) for e, here in zip(embedded, present, strict=True)]
        logits = self.grn(f"{name}.joint", torch.cat(shown), context, skip_norm)
        total = sum(torch.exp(logit) for logit, here in zip(logits, present, strict=True) if here)
        weights = [torch.exp(logit) / total if here else logit * 0 for logit, here in zip(logits, present, strict=True)]
        selected = torch.zeros(self.d, dtype=torch.float64)
        for v, (e, here) in enumerate(zip(embedded, present, strict=True)):
            if here:
                selected = selected + weights[v] * self.variable_grn(f"{name}.variables", e, v, real=v < num_reals)
        return selected, torch.stack(weights)

    def lstm_step(self, name: str, layer: int, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the cell of Hochreiter and Schmidhuber, gates in the order input, forget, cell, output."""
        p = self.p
        gates = p[f"{name}.weight_ih_l{layer}"] @ x + p[f"{name}.bias_ih_l{layer}"]
        gates = gates + p[f"{name}.weight_hh_l{layer}"] @ h + p[f"{name}.bias_hh_l{layer}"]
        i, f, g, o = gates.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def lstm(self, name: str, steps: list[Tensor], state: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Run the layers over the steps; `state` is changed in place."""
        outputs = []
        for step in steps:
            below = step
            for layer, (h, c) in enumerate(state):
                state[layer] = self.lstm_step(name, layer, below, h, c)
                below = state[layer][0]
            outputs.append(below)
        return outputs

    # --- one window ----------------------------------------------------------------------------------------------

    def window(self, batch: Batch, b: int) -> tuple[Tensor, ...]:
        config, d = self.config, self.d
        L, H = batch.past_real.shape[1], batch.future_real.shape[1]
        valid = [batch.past_mask.shape[1] == 0 or bool(batch.past_mask[b, t]) for t in range(L)] + [True] * H

        # Static variables and the four contexts (section 4.3).
        static_weights = torch.zeros(0, dtype=torch.float64)
        context: dict[str, Tensor | None] = dict.fromkeys(("selection", "enrichment", "hidden", "cell"))
        if config.num_static:
            embedded = [self.embed_real("static.embedding", v, x) for v, x in enumerate(batch.static_real[b])] + [
                self.embed_category("static.embedding", config.static_categories, v, code)
                for v, code in enumerate(batch.static_cat[b])
            ]
            here = shown(batch.static_real_present[b], config.static_reals, len(config.static_categories))
            selected, static_weights = self.select("static.select", embedded, config.static_reals, here, None)
            context = {name: self.grn(f"static.contexts.{name}", selected) for name in context}
        elif config.contexts_without_static:
            nothing = torch.zeros(d, dtype=torch.float64)
            context = {name: self.grn(f"static.contexts.{name}", nothing) for name in context}

        # Selection at each step. Known variables have the same embedding in past and future.
        past_weights, future_weights, inputs = [], [], []
        cardinalities = (*config.observed_categories, *config.known_categories)
        for t in range(L + H):
            past = t < L
            reals = batch.past_real[b, t] if past else batch.future_real[b, t - L]
            codes = batch.past_cat[b, t] if past else batch.future_cat[b, t - L]
            real_present = batch.past_real_present[b, t] if past else batch.future_real_present[b, t - L]
            first_real = 0 if past else config.observed_reals
            first_category = 0 if past else len(config.observed_categories)
            embedded = [self.embed_real("embedding", first_real + v, x) for v, x in enumerate(reals)] + [
                self.embed_category("embedding", cardinalities, first_category + v, code)
                for v, code in enumerate(codes)
            ]
            if not embedded or not valid[t]:
                selected, weights = torch.zeros(d, dtype=torch.float64), torch.zeros(len(embedded), dtype=torch.float64)
            else:
                here = shown(real_present, len(reals), len(codes))
                name = "select_past" if past else "select_future"
                selected, weights = self.select(name, embedded, len(reals), here, context["selection"])
            inputs.append(selected)
            (past_weights if past else future_weights).append(weights)

        # The sequence-to-sequence layer runs over the valid steps only (section 4.5.1, equation 17).
        nothing = torch.zeros(d, dtype=torch.float64)
        start = (nothing if context["hidden"] is None else context["hidden"], context["cell"])
        state = [(start[0], nothing if start[1] is None else start[1])] * config.num_lstm_layers
        steps = [t for t in range(L + H) if valid[t]]
        outputs = self.lstm("recurrence.encoder", [inputs[t] for t in steps if t < L], state)
        outputs += self.lstm("recurrence.decoder", [inputs[t] for t in steps if t >= L], state)
        local = {t: self.gate_add_norm("after_recurrence", o, inputs[t]) for t, o in zip(steps, outputs, strict=True)}

        # Static enrichment (equation 18).
        enriched = {t: self.grn("enrich", local[t], context["enrichment"]) for t in steps}

        # Attention (equations 13 to 16, 19), then equations 20 to 22.
        quantiles, attention = [], []
        for t in range(L, L + H):
            last = {"inclusive": t, "strict": t - 1, "none": L + H}[config.attention_mask]
            visible = [s for s in steps if s <= last]
            heads, mean_weights = [], torch.zeros(L + H, dtype=torch.float64)
            for m in range(config.num_heads):
                size = d // config.num_heads
                rows = slice(m * size, (m + 1) * size)
                query = self.linear("attention.query", enriched[t])[rows]
                keys = [self.linear("attention.key", enriched[s])[rows] for s in visible]
                scores = [torch.exp(query @ key / math.sqrt(size)) for key in keys]
                weights = [score / sum(scores) for score in scores]
                values = [self.linear("attention.value", enriched[s]) for s in visible]
                heads.append(sum((w * value for w, value in zip(weights, values, strict=True)), nothing[:size]))
                for s, w in zip(visible, weights, strict=True):
                    mean_weights = mean_weights + w / config.num_heads * one_hot(s, L + H)
            attended = self.p["attention.output.weight"] @ (sum(heads) / config.num_heads)
            fused = self.gate_add_norm("after_attention", attended, enriched[t])
            decoded = self.gate_add_norm("before_head", self.grn("position_wise", fused), local[t])
            quantiles.append(self.linear("head.projection", decoded).view(config.num_targets, len(config.quantiles)))
            attention.append(mean_weights)

        return (
            torch.stack(quantiles),
            static_weights,
            torch.stack(past_weights),
            torch.stack(future_weights),
            torch.stack(attention),
            torch.zeros(H, config.num_targets, 0, dtype=torch.float64),
        )


def elu(x: Tensor) -> Tensor:
    below = torch.where(x > 0, 0.0, x)  # which has slope 1 at 0, where a minimum would have one half
    return torch.where(x > 0, x, torch.exp(below) - 1)


def one_hot(position: int, size: int) -> Tensor:
    return torch.tensor([float(i == position) for i in range(size)], dtype=torch.float64)


def shown(real_present: Tensor, num_reals: int, num_categories: int) -> list[bool]:
    """Return which variables are present: the reals as masked, the categories always."""
    reals = [True] * num_reals if real_present.shape[0] == 0 else [bool(here) for here in real_present]
    return reals + [True] * num_categories


def pinball(quantiles: Tensor, target: Tensor, mask: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Equations 24 and 25, entry by entry: summed over levels, averaged over what counts."""
    terms, count = [], 0
    B, H, Y, _ = quantiles.shape
    for b in range(B):
        for h in range(H):
            for y in range(Y):
                if mask.shape[-1] and not mask[b, h, y]:
                    continue
                count += 1
                for q, level in enumerate(levels):
                    error = target[b, h, y] - quantiles[b, h, y, q]
                    terms.append(level * error if error > 0 else (level - 1) * error)
    return sum(terms) / count if count else quantiles.sum() * 0
