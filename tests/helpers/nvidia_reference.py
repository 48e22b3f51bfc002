"""The forward pass of NVIDIA's TFT, written from its description: one window, step, variable and head at a time.

It takes a state dict with their names, in float64, and their inputs: `s_cat`, `s_cont`, `k_cat`, `k_cont`, `o_cat`,
`o_cont`, `target`, each ``[T, width]`` over past and future. No dropout. Their layer norms add 1e-3 to the variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """Widths of the groups of inputs; categories by cardinality."""

    static_categories: tuple[int, ...] = ()
    static_reals: int = 0
    known_categories: tuple[int, ...] = ()
    known_reals: int = 0
    observed_categories: tuple[int, ...] = ()
    observed_reals: int = 0
    targets: int = 1
    hidden: int = 8
    heads: int = 2
    quantiles: int = 3
    encoder_length: int = 5
    example_length: int = 8

    @property
    def future(self) -> int:
        return len(self.known_categories) + self.known_reals

    @property
    def history(self) -> int:
        return self.future + len(self.observed_categories) + self.observed_reals + self.targets

    @property
    def static(self) -> int:
        return len(self.static_categories) + self.static_reals


def random_state(sizes: Sizes, seed: int = 0) -> Mapping[str, Tensor]:
    """Return a random state dict with their names and shapes."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    d = sizes.hidden

    def put(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=generator) / math.sqrt(shape[-1])

    def linear(name: str, d_in: int, d_out: int, *, bias: bool = True) -> None:
        put(f"{name}.weight", d_out, d_in)
        if bias:
            put(f"{name}.bias", d_out)

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + 0.3 * torch.randn(width, generator=generator)
        put(f"{name}.bias", width)

    def grn(name: str, d_in: int, *, d_out: int | None = None, context: bool = False) -> None:
        if d_out != 1:
            norm(f"{name}.layer_norm.ln", d_out or d)
        linear(f"{name}.lin_a", d_in, d)
        if context:
            linear(f"{name}.lin_c", d, d, bias=False)
        linear(f"{name}.lin_i", d, d)
        linear(f"{name}.glu.lin", d, 2 * (d_out or d))
        if d_out:
            linear(f"{name}.out_proj", d_in, d_out)

    def selection(name: str, count: int) -> None:
        grn(f"{name}.joint_grn", d * count, d_out=count, context=True)
        for v in range(count):
            grn(f"{name}.var_grns.{v}", d)

    for kind, cardinalities in (
        ("s_cat", sizes.static_categories), ("t_cat_k", sizes.known_categories), ("t_cat_o", sizes.observed_categories),
    ):  # fmt: skip
        for v, cardinality in enumerate(cardinalities):
            put(f"embedding.{kind}_embed.{v}.weight", cardinality, d)
    for kind, count in (
        ("s_cont", sizes.static_reals), ("t_cont_k", sizes.known_reals), ("t_cont_o", sizes.observed_reals),
        ("t_tgt", sizes.targets),
    ):  # fmt: skip
        if count:
            put(f"embedding.{kind}_embedding_vectors", count, d)
            put(f"embedding.{kind}_embedding_bias", count, d)
    selection("static_encoder.vsn", sizes.static)
    for i in range(4):
        grn(f"static_encoder.context_grns.{i}", d)
    selection("history_vsn", sizes.history)
    selection("future_vsn", sizes.future)
    for name in ("history_encoder", "future_encoder"):
        for matrix in ("weight_ih_l0", "weight_hh_l0"):
            put(f"{name}.{matrix}", 4 * d, d)
        for bias in ("bias_ih_l0", "bias_hh_l0"):
            put(f"{name}.{bias}", 4 * d)
    for name in ("input_gate", "attention_gate", "decoder_gate"):
        linear(f"{name}.lin", d, 2 * d)
    for name in ("input_gate_ln", "attention_ln", "decoder_ln"):
        norm(name, d)
    grn("enrichment_grn", d, context=True)
    grn("positionwise_grn", d)
    head = d // sizes.heads
    linear("attention.qkv_linears", d, (2 * sizes.heads + 1) * head, bias=False)
    linear("attention.out_proj", head, d, bias=False)
    T = sizes.example_length
    state["attention._mask"] = torch.full((T, T), -torch.inf).triu(1).unsqueeze(0)
    linear("quantile_proj", d, sizes.quantiles)
    return state


def random_inputs(sizes: Sizes, seed: int = 1) -> Inputs:
    """Draw one window of inputs; statics are repeated at every step, as theirs are."""
    generator = torch.Generator().manual_seed(seed)
    T = sizes.example_length

    def codes(cardinalities: tuple[int, ...]) -> Tensor:
        columns = [torch.randint(cardinality, (T,), generator=generator) for cardinality in cardinalities]
        return torch.stack(columns, dim=-1) if columns else torch.zeros(T, 0, dtype=torch.int64)

    def reals(count: int) -> Tensor:
        return torch.randn(T, count, generator=generator, dtype=torch.float64)

    return {
        "s_cat": codes(sizes.static_categories)[:1].expand(T, -1),
        "s_cont": reals(sizes.static_reals)[:1].expand(T, -1),
        "k_cat": codes(sizes.known_categories),
        "k_cont": reals(sizes.known_reals),
        "o_cat": codes(sizes.observed_categories),
        "o_cont": reals(sizes.observed_reals),
        "target": reals(sizes.targets),
    }


class Reference:
    """Their network."""

    def __init__(self, sizes: Sizes, state: Mapping[str, Tensor]) -> None:
        self.sizes = sizes
        self.p = {name: tensor.double() for name, tensor in state.items()}

    def linear(self, name: str, x: Tensor) -> Tensor:
        return self.p[f"{name}.weight"] @ x + self.p.get(f"{name}.bias", torch.zeros(()).double())

    def norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean()
        return centred / torch.sqrt((centred**2).mean() + 1e-3) * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def glu(self, name: str, x: Tensor) -> Tensor:
        values, gates = self.linear(name, x).chunk(2)
        return values * torch.sigmoid(gates)

    def grn(self, name: str, x: Tensor, context: Tensor | None = None) -> Tensor:
        inner = self.linear(f"{name}.lin_a", x)
        if context is not None:
            inner = inner + self.linear(f"{name}.lin_c", context)
        inner = torch.where(inner > 0, inner, torch.exp(inner) - 1)
        residual = self.linear(f"{name}.out_proj", x) if f"{name}.out_proj.weight" in self.p else x
        result = self.glu(f"{name}.glu.lin", self.linear(f"{name}.lin_i", inner)) + residual
        return result if len(result) == 1 else self.norm(f"{name}.layer_norm.ln", result)

    def select(self, name: str, embedded: list[Tensor], context: Tensor | None) -> Tensor:
        weights = torch.softmax(self.grn(f"{name}.joint_grn", torch.cat(embedded), context), dim=0)
        return sum(
            w * self.grn(f"{name}.var_grns.{v}", e) for v, (w, e) in enumerate(zip(weights, embedded, strict=True))
        )

    def embed(self, kind: str, codes: Tensor, reals: Tensor) -> list[Tensor]:
        """Embed a group at one step: categories first, then reals."""
        table, line = ("s_cat", "s_cont") if kind == "s" else (f"t_cat_{kind}", f"t_cont_{kind}")
        return [
            *(self.p[f"embedding.{table}_embed.{v}.weight"][int(code)] for v, code in enumerate(codes)),
            *self.lines(line, reals),
        ]

    def lines(self, line: str, reals: Tensor) -> list[Tensor]:
        vectors, biases = (self.p.get(f"embedding.{line}_embedding_{part}") for part in ("vectors", "bias"))
        return [x * vectors[v] + biases[v] for v, x in enumerate(reals)]

    def lstm(self, name: str, steps: list[Tensor], h: Tensor, c: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        outputs = []
        for x in steps:
            gates = self.p[f"{name}.weight_ih_l0"] @ x + self.p[f"{name}.bias_ih_l0"]
            gates = gates + self.p[f"{name}.weight_hh_l0"] @ h + self.p[f"{name}.bias_hh_l0"]
            i, f, g, o = gates.chunk(4)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return outputs, h, c

    def __call__(self, x: Inputs) -> Tensor:
        """Forecast one window: ``[example_length - encoder_length, quantiles]``."""
        L, T = self.sizes.encoder_length, self.sizes.example_length
        static = self.select("static_encoder.vsn", self.embed("s", x["s_cat"][0], x["s_cont"][0]), None)
        selection, enrichment, hidden, cell = (self.grn(f"static_encoder.context_grns.{n}", static) for n in range(4))
        selected = []
        for t in range(T):
            known = self.embed("k", x["k_cat"][t], x["k_cont"][t])
            if t < L:
                observed = self.embed("o", x["o_cat"][t], x["o_cont"][t])
                inputs = [*observed, *known, *self.lines("t_tgt", x["target"][t])]
                selected.append(self.select("history_vsn", inputs, selection))
            else:
                selected.append(self.select("future_vsn", known, selection))
        past, hidden, cell = self.lstm("history_encoder", selected[:L], hidden, cell)
        future, _, _ = self.lstm("future_encoder", selected[L:], hidden, cell)
        local = [
            self.norm("input_gate_ln", self.glu("input_gate.lin", output) + selected[t])
            for t, output in enumerate([*past, *future])
        ]
        enriched = [self.grn("enrichment_grn", step, enrichment) for step in local]
        return torch.stack([self.forecast(t, local, enriched) for t in range(L, T)])

    def forecast(self, t: int, local: list[Tensor], enriched: list[Tensor]) -> Tensor:
        heads, d = self.sizes.heads, self.sizes.hidden
        size = d // heads
        qkv = [self.linear("attention.qkv_linears", step) for step in enriched[: t + 1]]  # up to itself, itself too
        attended = torch.zeros(size).double()
        for m in range(heads):
            query = qkv[t][m * size : (m + 1) * size]
            scores = torch.stack([query @ step[d + m * size : d + (m + 1) * size] for step in qkv]) / math.sqrt(size)
            for weight, step in zip(torch.softmax(scores, dim=0), qkv, strict=True):
                attended = attended + weight * step[2 * d :] / heads
        fused = self.glu("attention_gate.lin", self.linear("attention.out_proj", attended)) + enriched[t]
        fused = self.grn("positionwise_grn", self.norm("attention_ln", fused))
        decoded = self.norm("decoder_ln", self.glu("decoder_gate.lin", fused) + local[t])
        return self.linear("quantile_proj", decoded)
