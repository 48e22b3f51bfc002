from __future__ import annotations

import torch

from fusecast.model.attention import masked_softmax


def test_what_is_not_allowed_gets_nothing_and_the_rest_share():
    weights = masked_softmax(torch.tensor([1.0, 5.0, 1.0]), torch.tensor([True, False, True]))
    assert weights.tolist() == [0.5, 0.0, 0.5]


def test_nothing_allowed_gives_zeros_without_nan_in_the_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    weights = masked_softmax(logits, torch.tensor([[True, True, False], [False, False, False]]))
    (weights**2).sum().backward()
    assert weights[1].tolist() == [0, 0, 0]
    assert logits.grad[1].tolist() == [0, 0, 0]
    assert logits.grad[0].any()


def test_half_precision_is_raised_and_double_precision_is_kept():
    assert masked_softmax(torch.zeros(3, dtype=torch.bfloat16), None).dtype == torch.float32
    assert masked_softmax(torch.zeros(3, dtype=torch.float64), None).dtype == torch.float64
