"""Shared passes: what they return does not depend on who shares them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from tests.helpers.networks import BARE, FULL, build_network, draw_batch

from fusecast.kernels.library import library
from fusecast.model.batch import Batch, Output
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.serving.batching import SharedPasses

SIZES = ([1] * 16, [1, 2, 3, 4, 5, 6, 7], [3, 1, 1], [16, 16, 2])
TABLES = replace(FULL, static_categories=(21,), observed_categories=(16, 34), known_categories=(5, 28))
"""A network whose tables have as many rows as some passes have windows."""

needs_kernels = pytest.mark.skipif(library() is None, reason="there is no compiler")


def split(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    return [Batch(*parts) for parts in zip(*(tensor.split(list(sizes)) for tensor in batch), strict=True)]


def run_together(
    passes: SharedPasses, network: TemporalFusionTransformer, batches: Sequence[Batch]
) -> list[Output | Exception]:
    """Run batches from a thread each, in one pass."""
    passes.active = lambda: len(batches)

    def run(batch: Batch) -> Output | Exception:
        with torch.inference_mode():
            try:
                output: Output = network(batch)
            except (IndexError, RuntimeError) as error:
                return error
            return output

    with ThreadPoolExecutor(len(batches)) as pool:
        return list(pool.map(run, batches))


@needs_kernels
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("config", [BARE, FULL, TABLES, replace(FULL, contexts_without_static=True)])
def test_a_shared_pass_returns_what_each_request_gets_alone(config: ModelConfig, missing: float) -> None:
    for hidden, horizon in ((8, 1), (16, 4)):
        config = replace(config, hidden_size=hidden, horizon=horizon)
        network = build_network(config, dtype=torch.float32).eval()
        forward, passes, seen = network.forward, SharedPasses(wait=20), list[tuple[int, int]]()
        passes.observe = lambda *pass_, seen=seen: seen.append(pass_)  # type: ignore[misc]
        passes.attach([network])
        for sizes in SIZES:
            batches = split(draw_batch(config, sum(sizes), missing=missing, dtype=torch.float32), sizes)
            shared = run_together(passes, network, batches)
            assert seen.pop() == (len(sizes), sum(sizes))
            for output, batch in zip(shared, batches, strict=True):
                with torch.inference_mode():
                    alone = forward(batch)
                assert isinstance(output, Output)
                assert all(torch.equal(*pair) for pair in zip(output, alone, strict=True))


@needs_kernels
def test_products_depend_on_their_number_of_rows() -> None:
    """The reason for separate products: where this fails, they may be computed together."""
    network = build_network(replace(FULL, hidden_size=16), dtype=torch.float32).eval()
    batch = draw_batch(FULL, 16, dtype=torch.float32)
    with torch.inference_mode():
        alone = torch.cat([network(part).quantiles for part in split(batch, [1] * 16)])
        assert not torch.equal(network(batch).quantiles, alone)


@needs_kernels
def test_what_differs_in_shape_has_passes_of_its_own() -> None:
    network, passes, seen = build_network(FULL, dtype=torch.float32).eval(), SharedPasses(wait=0.5), list[int]()
    passes.observe = lambda requests, _: seen.append(requests)
    passes.attach([network])
    batches = [draw_batch(FULL, 2, missing=missing, dtype=torch.float32) for missing in (0.0, 0.2, 0.0)]
    run_together(passes, network, batches)
    assert sorted(seen) == [1, 2]


@needs_kernels
def test_an_error_belongs_to_its_request() -> None:
    network, passes = build_network(FULL, dtype=torch.float32).eval(), SharedPasses(wait=20)
    passes.attach([network])
    good, bad = (draw_batch(FULL, 2, dtype=torch.float32) for _ in range(2))
    bad = bad._replace(past_cat=bad.past_cat + 100)
    first, failed, second = run_together(passes, network, [good, bad, good])
    assert isinstance(failed, IndexError)
    assert isinstance(first, Output)
    assert isinstance(second, Output)
    assert torch.equal(first.quantiles, second.quantiles)


def test_a_request_alone_waits_for_nobody() -> None:
    network, passes = build_network(FULL, dtype=torch.float32).eval(), SharedPasses(wait=60)
    passes.attach([network])
    done = threading.Event()

    def run() -> None:
        with torch.inference_mode():
            network(draw_batch(FULL, 1, dtype=torch.float32))
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(20)


@pytest.mark.parametrize("head", ["negative_binomial", "student_t"])
def test_heads_that_iterate_over_all_windows_share_nothing(head: str) -> None:
    network = build_network(replace(FULL, head=head), dtype=torch.float32).eval()
    forward = network.forward
    SharedPasses().attach([network])
    assert network.forward == forward
