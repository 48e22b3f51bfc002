from __future__ import annotations

import torch

from fusecast.runtime.seeding import seed_step


def test_random_numbers_of_a_step_follow_from_seed_step_and_rank_alone() -> None:
    def draw(seed: int, step: int, rank: int) -> tuple[float, ...]:
        seed_step(seed, step, rank)
        return tuple(torch.rand(3).tolist())

    steps = [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2)]
    first = [draw(*step) for step in steps]
    assert [draw(*step) for step in reversed(steps)] == first[::-1]
    assert len(set(first)) == len(steps)
