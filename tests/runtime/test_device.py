from __future__ import annotations

import pytest
import torch

from fusecast.errors import ConfigError
from fusecast.runtime import device
from fusecast.runtime.device import choose_accelerator, choose_precision, seed_step, torch_device


@pytest.fixture
def a_machine_with(monkeypatch: pytest.MonkeyPatch):
    def pretend(*, cuda: int = 0, bf16: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return pretend


def test_the_best_device_is_taken(a_machine_with) -> None:
    a_machine_with(cuda=2)
    assert choose_accelerator() == "cuda"
    assert choose_accelerator("gpu") == "cuda"
    assert choose_accelerator("cpu") == "cpu"
    a_machine_with()
    assert choose_accelerator() == "cpu"


@pytest.mark.parametrize("requested", ["cuda", "gpu", "mps"])
def test_an_absent_accelerator_is_an_error_that_names_those_there_are(a_machine_with, requested: str) -> None:
    a_machine_with()
    with pytest.raises(ConfigError, match=r"not available on this machine\n.*available are cpu"):
        choose_accelerator(requested)


def test_more_gpus_than_there_are_is_an_error(a_machine_with) -> None:
    a_machine_with(cuda=1)
    with pytest.raises(ConfigError, match="3 cuda devices are requested, and this machine has 1"):
        choose_accelerator("cuda", devices=3)
    assert choose_accelerator("cpu", devices=3) == "cpu"


@pytest.mark.parametrize(
    ("bf16", "requested", "accelerator", "expected"),
    [
        (True, None, "cuda", "bf16-mixed"),
        (False, None, "cuda", "16-mixed"),
        (True, None, "cpu", "32-true"),
        (True, None, "mps", "32-true"),
        (True, "32", "cuda", "32-true"),
        (False, 16, "cuda", "16-mixed"),
        (False, "bf16", "cpu", "bf16-mixed"),
    ],
)
def test_precision_follows_the_card_unless_it_is_requested(
    a_machine_with, bf16: bool, requested: str | int | None, accelerator: str, expected: str
) -> None:
    a_machine_with(cuda=1, bf16=bf16)
    assert choose_precision(requested, accelerator) == expected


@pytest.mark.parametrize("requested", ["cuda", "cuda:1", "abacus"])
def test_a_device_for_inference_must_be_there(a_machine_with, requested: str) -> None:
    a_machine_with(cuda=1 if requested == "cuda:1" else 0)
    with pytest.raises(ConfigError, match=f"device '{requested}' is not available on this machine"):
        torch_device(requested)


def test_the_device_for_inference_is_chosen_by_itself(a_machine_with) -> None:
    a_machine_with()
    assert torch_device() == torch_device("auto") == torch_device("cpu") == torch.device("cpu")
    assert set(device.available_accelerators()) == {"cpu"}


def test_random_numbers_of_a_step_follow_from_seed_step_and_rank_alone() -> None:
    def draw(seed: int, step: int, rank: int) -> tuple[float, ...]:
        seed_step(seed, step, rank)
        return tuple(torch.rand(3).tolist())

    steps = [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2)]
    first = [draw(*step) for step in steps]
    assert [draw(*step) for step in reversed(steps)] == first[::-1]
    assert len(set(first)) == len(steps)
