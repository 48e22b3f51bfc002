from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from tests.helpers.training_fixtures import World

from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.unknown_categories import settle_unknown_categories


def tables(network: TemporalFusionTransformer) -> list[torch.Tensor]:
    embeddings = [network.embedding, *([network.static.embedding] if network.static else [])]
    return [
        table.detach().clone() for embedding in embeddings for table in embedding.table.split(embedding.cardinalities)
    ]


def test_a_code_that_training_never_saw_stands_for_the_average(world: World) -> None:
    network = TemporalFusionTransformer(world.model)
    before = tables(network)
    assert before, "the world of these tests has categories"
    settle_unknown_categories(network, world.encoded, world.train)
    for old, new in zip(before, tables(network), strict=True):
        torch.testing.assert_close(new[0], old[1:].mean(dim=0))
        torch.testing.assert_close(new[1:], old[1:], rtol=0, atol=0)


def test_a_code_that_training_has_learned_stays(world: World) -> None:
    categories = world.encoded.categories.copy()
    categories[0] = 0  # the first row of all lies in the training span
    network = TemporalFusionTransformer(world.model)
    before = tables(network)[: categories.shape[1]]
    settle_unknown_categories(network, replace(world.encoded, categories=categories), world.train)
    for old, new in zip(before, tables(network), strict=False):
        torch.testing.assert_close(new, old, rtol=0, atol=0)


def test_what_comes_after_the_training_span_does_not_matter(world: World) -> None:
    categories = world.encoded.categories.copy()
    ends = world.encoded.indptr[1:] - 1
    assert (world.train.last_cutoff + world.train.horizon < np.diff(world.encoded.indptr)).all()
    categories[ends] = 0
    one, other = TemporalFusionTransformer(world.model), TemporalFusionTransformer(world.model)
    other.load_state_dict(one.state_dict())
    settle_unknown_categories(one, world.encoded, world.train)
    settle_unknown_categories(other, replace(world.encoded, categories=categories), world.train)
    for a, b in zip(tables(one), tables(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
