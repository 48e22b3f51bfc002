"""What other tools do to layers counts: hooks, pruned, replaced, quantised and swapped weights, in prediction too."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.helpers.networks import FULL, as_dtype, build_network, draw_batch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from fusecast.model.batch import Batch
from fusecast.model.config import VARIABLE_SKIPS, ModelConfig
from fusecast.model.embedding import VariableEmbedding
from fusecast.model.tft import TemporalFusionTransformer

CONFIGS = {
    "all groups": {},
    "nothing but targets": {"static_reals": 0, "static_categories": (), "observed_categories": (), "known_reals": 0,
                            "known_categories": (), "observed_reals": 1},
    "norm of the selection's skip": {"selection_skip_norm": True},
} | {f"variables' skips: {skip}": {"variable_skip": skip} for skip in VARIABLE_SKIPS}  # fmt: skip


def build(**changes: object) -> TemporalFusionTransformer:
    return build_network(replace(FULL, **changes), dtype=torch.float32, perturb="", noise=0.1).eval()


def batch_for(config: ModelConfig, missing: float = 0.0) -> Batch:
    return draw_batch(config, missing=missing, dtype=torch.float32)


def forecast(network: TemporalFusionTransformer, batch: Batch) -> Tensor:
    with torch.no_grad():
        quantiles: Tensor = network(batch).quantiles
    return quantiles


def as_plain_torch(network: TemporalFusionTransformer, batch: Batch) -> Tensor:
    """Forecast in float64, which no kernel computes."""
    return forecast(copy.deepcopy(network).double(), as_dtype(batch, torch.float64)).float()


def called_modules(network: nn.Module) -> set[str]:
    """Return the names of all modules that have a forward pass; embeddings are tables, read by others."""
    kinds = (VariableEmbedding, nn.ModuleDict)
    return {name for name, module in network.named_modules() if not isinstance(module, kinds)}


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # the inputs of the network need no gradient
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_a_hook_on_any_layer_is_called_and_changes_no_result(changes: dict[str, object], missing: float) -> None:
    network = build(**changes)
    batch = batch_for(network.config, missing)
    expected = as_plain_torch(network, batch)
    parameters = [parameter for parameter in network.parameters() if parameter.numel()]
    expected_gradients = torch.autograd.grad(network(batch).quantiles.sum(), parameters)
    forward, backward = set(), set()
    for name, module in network.named_modules():
        module.register_forward_hook(lambda *_, name=name: forward.add(name))
        module.register_full_backward_hook(lambda *_, name=name: backward.add(name))
    torch.testing.assert_close(forecast(network, batch), expected, rtol=1e-4, atol=1e-4)
    assert forward == called_modules(network)
    gradients = torch.autograd.grad(network(batch).quantiles.sum(), parameters)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-3, atol=1e-3)
    assert backward == called_modules(network) - ({"recurrence.encoder"} if missing else set())  # torch: packed outputs


def test_a_hook_may_change_what_a_layer_returns() -> None:
    for name in sorted(called_modules(build()) - {"", "static"}):
        network = build()
        batch = batch_for(network.config)
        before = forecast(network, batch)
        layer = network.get_submodule(name)
        if isinstance(layer, nn.Identity):
            continue

        def double(_module: nn.Module, _inputs: object, output: object) -> object:
            if isinstance(output, Tensor):
                return output * 2 + 1
            return (
                type(output)(*(x * 2 for x in output)) if hasattr(output, "_fields") else (output[0] * 2 + 1, output[1])
            )

        handle = layer.register_forward_hook(double)
        assert not torch.allclose(forecast(network, batch), before, atol=1e-6), name
        handle.remove()
        assert torch.equal(forecast(network, batch), before), name


def test_a_hook_for_all_modules_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    network, called = build(), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: called.append(module))
    try:
        forecast(network, batch_for(network.config))
    finally:
        handle.remove()
    assert network.position_wise.gate.projection in called
    assert network.select_past.joint.from_input in called


def change_by_pruning(network: TemporalFusionTransformer) -> None:
    prune.l1_unstructured(network.enrich.hidden, "weight", amount=0.5)
    forecast(network, batch_for(network.config))  # whatever is packed now is out of date below
    network.enrich.hidden.weight_mask.zero_()


def change_by_pruning_a_folded_map(network: TemporalFusionTransformer) -> None:
    prune.identity(network.select_past.joint.from_input, "weight")
    forecast(network, batch_for(network.config))
    network.select_past.joint.from_input.weight_mask.zero_()


def change_by_parametrisation(network: TemporalFusionTransformer) -> None:
    parametrizations.weight_norm(network.position_wise.hidden)
    forecast(network, batch_for(network.config))
    with torch.no_grad():
        network.position_wise.hidden.parametrizations.weight.original0.mul_(2)


def change_by_a_subclass(network: TemporalFusionTransformer) -> None:
    class Adapted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    layer = Adapted(FULL.hidden_size, FULL.hidden_size)
    layer.load_state_dict(network.enrich.hidden.state_dict())
    network.enrich.hidden = layer


def change_by_a_replaced_method(network: TemporalFusionTransformer) -> None:
    layer = network.attention.key
    layer.forward = lambda x: 3 * x  # type: ignore[method-assign]


def change_in_place(network: TemporalFusionTransformer) -> None:
    forecast(network, batch_for(network.config))
    network.before_head.gate.projection.weight.data.mul_(2)


def change_by_dropout_at_prediction(network: TemporalFusionTransformer) -> None:
    for module in network.after_attention.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
            module.train()


def change_by_dropout_within_a_selection(network: TemporalFusionTransformer) -> None:
    network.select_future.variables.dropout.p = 0.5
    network.select_future.variables.dropout.train()


CHANGES: list[Callable[[TemporalFusionTransformer], None]] = [
    value for name, value in list(globals().items()) if name.startswith("change_")
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_layer_changes_the_forecast_as_in_plain_torch(change: Callable[..., None]) -> None:
    network = build()
    batch = batch_for(network.config)
    before = forecast(network, batch)
    change(network)
    torch.manual_seed(3)
    after = forecast(network, batch)
    assert not torch.allclose(after, before, atol=1e-5)
    if "dropout" not in change.__name__:
        torch.testing.assert_close(after, as_plain_torch(network, batch), rtol=1e-4, atol=1e-4)


def test_a_pruned_network_trains_what_is_left() -> None:
    network = build().train()
    layers = [module for module in network.modules() if isinstance(getattr(module, "weight", None), nn.Parameter)]
    for layer in layers:
        prune.random_unstructured(layer, "weight", amount=0.5)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    masks = [layer.weight_mask.clone() for layer in layers]
    for _ in range(2):
        optimizer.zero_grad()
        network(batch_for(network.config)).quantiles.square().mean().backward()
        optimizer.step()
    for layer, mask in zip(layers, masks, strict=True):
        prune.remove(layer, "weight")
        assert (layer.weight[mask == 0] == 0).all()
    torch.testing.assert_close(
        forecast(network.eval(), batch_for(network.config)), as_plain_torch(network, batch_for(network.config)),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_a_layer_of_another_type_is_refused_by_torch_and_not_misread() -> None:
    network = build()
    network.enrich.hidden.double()
    with pytest.raises(RuntimeError, match="dtype"):
        forecast(network, batch_for(network.config))


def test_identity_may_replace_dropout() -> None:
    network = build(dropout=0.5)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Identity())
    batch = batch_for(network.config)
    expected = forecast(network, batch)
    for lstm in (network.recurrence.encoder, network.recurrence.decoder):
        lstm.dropout = 0.0
    torch.testing.assert_close(network.train()(batch).quantiles, expected, rtol=1e-4, atol=1e-4)


# --- weights passed in, transforms of torch.func, copies -----------------------------------------------------------


def test_weights_that_are_passed_in_are_used_everywhere() -> None:
    network, other = build(), build_network(FULL, 7, dtype=torch.float32, perturb="", noise=0.1).eval()
    batch = batch_for(FULL)
    own, expected = forecast(network, batch), forecast(other, batch)
    for enabled in (False, True):
        with torch.set_grad_enabled(enabled):
            passed = torch.func.functional_call(network, dict(other.named_parameters()), (batch,)).quantiles
        torch.testing.assert_close(passed.detach(), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(forecast(network, batch), own)
    torch.testing.assert_close(as_plain_torch(network, batch), own, rtol=1e-4, atol=1e-4)


def test_gradients_by_torch_func_are_those_of_autograd() -> None:
    network, batch = build().train(), batch_for(FULL)
    parameters = {name: p for name, p in network.named_parameters() if p.numel()}
    expected = torch.autograd.grad(network(batch).quantiles.square().mean(), list(parameters.values()))

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(network, weights, (batch,)).quantiles.square().mean()

    actual = torch.func.grad(loss)({name: p.detach() for name, p in parameters.items()})
    for name, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(actual[name], gradient, rtol=1e-3, atol=1e-5)


def test_vmap_is_refused_by_torch_in_words() -> None:
    network, batch = build(), batch_for(FULL)
    with pytest.raises(RuntimeError, match="Batching rule not implemented for aten::lstm"):
        torch.func.vmap(lambda *fields: network(Batch(*(x.unsqueeze(0) for x in fields))).quantiles)(*batch)


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated", "ignore::UserWarning")
@pytest.mark.parametrize("kinds", [None, {nn.Linear}, {nn.LSTM}])
def test_a_network_quantised_to_8_bits_forecasts_nearly_the_same(kinds: set[type] | None) -> None:
    network, batch = build(), batch_for(FULL, missing=0.2)
    expected = forecast(network, batch)
    quantised = torch.ao.quantization.quantize_dynamic(network, kinds)
    actual = forecast(quantised, batch)
    assert not torch.equal(actual, expected)
    torch.testing.assert_close(actual, expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_forecasts_the_same_and_changes_alone(copied: Callable[..., TemporalFusionTransformer]) -> None:
    network, batch = build(), batch_for(FULL)
    expected = forecast(network, batch)
    other = copied(network)
    assert torch.equal(forecast(other, batch), expected)
    other.head.projection.bias.data.add_(1)
    torch.testing.assert_close(forecast(other, batch), expected + 1)
    assert torch.equal(forecast(network, batch), expected)
