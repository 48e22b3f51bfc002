from __future__ import annotations

import numpy as np

from fusecast.explain.attention import AttentionStore


def test_a_scratch_file_holds_the_same_as_memory(keep) -> None:
    attention = np.random.default_rng(0).dirichlet(np.ones(7), (9, 2))
    attention[3, :, :2] = np.nan
    memory, file = keep(attention, 5), keep(attention, 5, in_memory=100)
    assert memory.in_memory
    assert not file.in_memory
    for store in (memory, file):
        found = np.concatenate([block for _, block in store.blocks()])
        np.testing.assert_allclose(found, attention, rtol=1e-6)


def test_blocks_cover_a_span_once_and_in_order() -> None:
    store = AttentionStore(10, 600_000, 1)  # six windows a block
    parts = [part for part, _ in store.blocks(1, 9)]
    assert [(part.start, part.stop) for part in parts] == [(1, 7), (7, 9)]
