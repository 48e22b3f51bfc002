"""The optimizer's kernel against torch's own AdamW and clipping."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from fusecast.kernels.adamw import AdamW, clip_gradients, gradients_supported
from fusecast.kernels.library import library

SHAPES = ((3,), (40, 33), (), (1, 8192), (5, 2000), (8, 1))


@pytest.fixture
def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(3 * torch.randn(shape)) for shape in SHAPES]


def twins(parameters: list[nn.Parameter], **options) -> tuple[AdamW, torch.optim.AdamW]:
    options = {"lr": 1e-2, "weight_decay": 0.02, "fused": True, **options}
    return AdamW(parameters, **options), torch.optim.AdamW(copy.deepcopy(parameters), **options)


def list_parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def draw_gradients(*optimizers: torch.optim.Optimizer, leave_out: int | None = None) -> None:
    for i, twin in enumerate(zip(*map(list_parameters, optimizers), strict=True)):
        gradient = torch.randn_like(twin[0]) * 10 ** (-3 * torch.rand(()))
        for parameter in twin:
            parameter.grad = None if i == leave_out else gradient.clone()


def assert_close(ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer) -> None:
    for one, other in zip(list_parameters(ours), list_parameters(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_steps_equal_those_of_torch(parameters, decay: float) -> None:
    ours, theirs = twins(parameters, weight_decay=decay)
    for step in range(20):
        draw_gradients(ours, theirs, leave_out=step % 8)  # a tensor without a gradient is left as it is
        ours.step()
        theirs.step()
        assert_close(ours, theirs)
        theirs.param_groups[0]["lr"] = ours.param_groups[0]["lr"] = 1e-2 / (step + 1)


def test_groups_have_rates_of_their_own(parameters) -> None:
    groups = [{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:], "betas": (0.5, 0.9), "eps": 1e-3}]
    ours, theirs = AdamW(groups, fused=True), torch.optim.AdamW(copy.deepcopy(groups), fused=True)
    for _ in range(5):
        draw_gradients(ours, theirs)
        ours.step()
        theirs.step()
    assert_close(ours, theirs)


def test_the_kernel_does_the_steps_and_not_torch(parameters, monkeypatch) -> None:
    if library() is None:
        pytest.skip("no kernels on this machine")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("torch was called")

    monkeypatch.setattr(torch.optim.AdamW, "step", refuse)
    monkeypatch.setattr("fusecast.kernels.adamw.clip_grad_norm_", refuse)
    optimizer = AdamW(parameters, fused=True)
    before = [p.detach().clone() for p in parameters]
    draw_gradients(optimizer)
    clip_gradients(optimizer, 1.0)
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(parameters, before, strict=True))


@pytest.mark.parametrize("way", ["from torch", "to torch"])
def test_a_state_dict_goes_from_one_to_the_other(parameters, way: str) -> None:
    ours, theirs = twins(parameters)
    first, second = (theirs, ours) if way == "from torch" else (ours, theirs)
    for _ in range(3):
        draw_gradients(first)
        first.step()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for one, other in zip(list_parameters(second), list_parameters(first), strict=True):
        one.data.copy_(other)
    for _ in range(3):
        draw_gradients(ours, theirs)
        ours.step()
        theirs.step()
    assert_close(ours, theirs)
    assert {float(state["step"]) for state in second.state.values()} == {6.0}


@pytest.mark.parametrize("share", [0.3, 0.999, 1.5])
def test_gradients_are_clipped_as_torch_clips_them(parameters, share: float) -> None:
    ours, theirs = twins(parameters)
    draw_gradients(ours, theirs)
    norm = float(torch.cat([p.grad.flatten() for p in list_parameters(theirs)]).norm())
    before = [p.grad.clone() for p in list_parameters(ours)]
    clip_gradients(ours, share * norm)
    clip_grad_norm_(list_parameters(theirs), share * norm)
    for one, other, old in zip(list_parameters(ours), list_parameters(theirs), before, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=0)
        assert torch.equal(one.grad, old) == (share > 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_is_not_hidden_by_clipping(parameters, value: float) -> None:
    ours, _ = twins(parameters)
    draw_gradients(ours)
    parameters[1].grad[2, 3] = value
    clip_gradients(ours, 1.0)
    assert parameters[1].grad[2, 3].isnan()


def test_results_do_not_depend_on_the_number_of_threads(parameters) -> None:
    optimizers = [AdamW(copy.deepcopy(parameters), fused=True) for _ in range(2)]
    threads = torch.get_num_threads()
    try:
        for _ in range(3):
            draw_gradients(*optimizers)
            for count, optimizer in zip((1, 3), optimizers, strict=True):
                torch.set_num_threads(count)
                clip_gradients(optimizer, 1.0)
                optimizer.step()
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*map(list_parameters, optimizers), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["float64", "transposed", "not fused", "amsgrad"])
def test_what_the_kernel_does_not_support_is_left_to_torch(kind: str) -> None:
    torch.manual_seed(0)
    weight = torch.randn(30, 20, dtype=torch.float64 if kind == "float64" else torch.float32)
    parameters = [nn.Parameter(weight.T if kind == "transposed" else weight)]
    ours, theirs = twins(parameters, fused=kind != "not fused", amsgrad=kind == "amsgrad")
    for _ in range(3):
        draw_gradients(ours, theirs)
        assert gradients_supported(parameters) == (library() is not None and kind in ("not fused", "amsgrad"))
        clip_gradients(ours, 0.5)
        clip_grad_norm_(list_parameters(theirs), 0.5)
        ours.step()
        theirs.step()
    assert_close(ours, theirs)


def test_a_closure_is_called_with_gradients_and_its_loss_returned(parameters) -> None:
    optimizer = AdamW(parameters, lr=0.1, fused=True)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = sum((p**2).sum() for p in parameters)
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(5)]
    assert losses == sorted(losses, reverse=True)


def test_gradients_scaled_for_fp16_are_unscaled_or_the_step_is_left_out(parameters) -> None:
    ours, theirs = twins(parameters)
    scalers = [torch.amp.GradScaler("cpu", init_scale=2.0**10) for _ in range(2)]
    for value in (1.0, 3.0, math.inf):
        for optimizer, scaler in zip((ours, theirs), scalers, strict=True):
            optimizer.zero_grad()
            loss = sum((p**2).sum() for p in list_parameters(optimizer))
            scaler.scale(loss * value).backward()
            scaler.step(optimizer)
            scaler.update()
    assert_close(ours, theirs)
    assert all(p.isfinite().all() for p in list_parameters(ours))
