"""Windows gathered on a device equal those of the plain gatherer to the last bit, and no value is read for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.device_waits import META, no_waiting
from tests.helpers.encoded_panels import assert_same_batch, every_cutoff, load, make_encoded

from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows import device_gatherer
from fusecast.windows.device_gatherer import (
    DeviceGatherer,
    DevicePanel,
    bytes_on_device,
    free_bytes,
    is_worth_copying,
    maybe_move_to_device,
)
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.torch_gatherer import PanelTensors, TorchGatherer
from fusecast.windows.window_index import WindowIndex

CPU = torch.device("cpu")
ENCODED = make_encoded([40, 30])
INDEX = WindowIndex.between(lengths=[40, 30], begin=0, end=40, lookback=8, horizon=4)  # 29 + 19 windows


def make_device_gatherer(encoded: EncodedPanel, index: WindowIndex, device: torch.device = CPU) -> DeviceGatherer:
    return DeviceGatherer(DevicePanel(encoded, device), index)


few = st.integers(0, 2)
panels = st.fixed_dictionaries(
    {
        "lengths": st.lists(st.integers(0, 14), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) > 0),
        "missing": st.sampled_from([0.0, 0.02, 0.3, 1.0]),
        "empty_rows": st.sampled_from([0.0, 0.05, 0.3]),
        "window_scaling": st.sampled_from(["none", "mean", "last", "season"]),
        "targets": st.integers(1, 3),
        "position": st.booleans(),
        "weighted": st.booleans(),
        **dict.fromkeys(("observed", "known", "static"), few),
        **dict.fromkeys(("observed_categories", "known_categories", "static_categories"), few),
    }
)


@given(
    columns=panels,
    lookback=st.integers(1, 9),
    horizon=st.integers(1, 5),
    stride=st.integers(1, 4),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_batches_on_a_device_equal_those_of_the_plain_gatherer(columns, lookback, horizon, stride, data):
    encoded = make_encoded(**columns)
    index = every_cutoff(columns["lengths"], lookback, horizon, stride)
    windows = np.array(data.draw(st.lists(st.integers(0, len(index) - 1), min_size=1, max_size=12)))
    plain = TorchGatherer(PanelTensors(encoded), index)
    on_device = make_device_gatherer(encoded, index)
    assert_same_batch(on_device(windows), plain(windows))
    for number, batch in enumerate(on_device.batches(windows, 5)):
        assert_same_batch(batch, plain(windows[number * 5 : number * 5 + 5]))


def test_bytes_a_row_are_right_across_the_blocks_in_which_they_are_made(monkeypatch):
    encoded = make_encoded([23, 18], missing=0.1, empty_rows=0.2, known_categories=0, observed_categories=0)
    whole = device_gatherer.find_missing_by_row(encoded)
    monkeypatch.setattr(device_gatherer, "ROWS_PER_SCAN", 7)
    np.testing.assert_array_equal(device_gatherer.find_missing_by_row(encoded), whole)
    assert len(np.unique(whole)) > 3, "the test needs rows that lack different things"


def test_no_windows_are_an_empty_batch():
    assert make_device_gatherer(ENCODED, INDEX)([]).past_real.shape == (0, 8, 4)
    assert make_device_gatherer(make_encoded([40, 30], missing=0.3), INDEX)([]).past_mask.shape == (0, 0)


def test_a_window_that_there_is_not_is_refused():
    with pytest.raises(IndexError, match="numbered 0 to 47, not 48"):
        make_device_gatherer(ENCODED, INDEX)([48])


@pytest.mark.parametrize("window_scaling", ["none", "mean", "last", "season"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_batch_takes_one_copy_and_reads_nothing_from_the_device(window_scaling, missing):
    # tensors of the device "meta" have no values: whoever looks at one is refused by torch as well
    encoded = make_encoded([40, 30, 5], missing=missing, empty_rows=missing, targets=2, window_scaling=window_scaling)
    index = every_cutoff([40, 30, 5], 8, 4)
    gatherer = make_device_gatherer(encoded, index, META)
    plain = TorchGatherer(PanelTensors(encoded), index)
    for windows in ([10, 50], [0, 45, 74], [40]):  # within, on both sides, beyond the end
        with no_waiting() as sent:
            batch = gatherer(windows)
        assert sent == ["_to_copy"]
        for name, reference in plain(windows)._asdict().items():
            tensor = getattr(batch, name)
            assert (tensor.device, tensor.shape, tensor.dtype) == (META, reference.shape, reference.dtype), name


def test_the_check_detects_reads_and_copies():
    with no_waiting(), pytest.raises(AssertionError, match="_local_scalar_dense reads a value"):
        bool(torch.ones(()))
    with no_waiting(), pytest.raises(AssertionError, match="indexing by a mask"):
        torch.ones(3)[torch.ones(3, dtype=torch.bool)]
    with no_waiting() as sent:
        torch.ones(3).to(META)
        torch.tensor([1.0, 2.0], device=META)
        torch.where(torch.ones(3, dtype=torch.bool), torch.zeros(3), 1.0)
    assert sent == ["_to_copy", "tensor"]


def test_one_panel_serves_several_gatherers_and_can_be_freed():
    panel = DevicePanel(ENCODED, CPU)
    train, valid = DeviceGatherer(panel, INDEX), DeviceGatherer(panel, INDEX.subset([1]))
    assert train.panel.reals is valid.panel.reals
    batch = train([3])
    panel.release()
    assert panel.reals.numel() == 0
    assert_same_batch(batch, TorchGatherer(PanelTensors(ENCODED), INDEX)([3]))


def test_on_the_cpu_nothing_is_copied_and_mapped_arrays_stay_in_their_file(tmp_path):
    np.save(tmp_path / "reals.npy", ENCODED.reals)
    mapped = replace(ENCODED, reals=np.load(tmp_path / "reals.npy", mmap_mode="r"))
    panel = DevicePanel(mapped, CPU)
    assert panel.reals.data_ptr() == mapped.reals.ctypes.data
    assert_same_batch(DeviceGatherer(panel, INDEX)([3, 40]), make_device_gatherer(ENCODED, INDEX)([3, 40]))


def test_the_bytes_on_a_device_are_those_of_the_tensors_there():
    encoded = make_encoded([40, 30], missing=0.1, weighted=True)
    panel = DevicePanel(encoded, META)
    held = [each for each in vars(panel).values() if isinstance(each, torch.Tensor) and each.device == META]
    assert len(held) == 9
    assert bytes_on_device(encoded) == sum(each.numel() * each.element_size() for each in held)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 2])
def test_a_loader_of_a_panel_on_a_device_gives_the_same_windows_in_the_same_order(shuffle, world):
    encoded = make_encoded([40, 30], missing=0.2)

    def batches(source: EncodedPanel | DevicePanel, rank: int) -> list[Batch]:
        options = {"shuffle": shuffle, "seed": 4, "windows_per_epoch": 33, "rank": rank, "world_size": world}
        return list(load(source, INDEX, batch_size=5, **options))

    for rank in range(world):
        usual, on_device = batches(encoded, rank), batches(DevicePanel(encoded, CPU), rank)
        assert len(usual) == len(on_device) > 1
        for one, other in zip(on_device, usual, strict=True):
            assert_same_batch(one, other)


def test_a_loader_of_a_panel_on_a_device_resumes_within_an_epoch():
    def loader(source: EncodedPanel | DevicePanel):
        return load(source, INDEX, batch_size=4, shuffle=True, seed=5)

    usual = loader(ENCODED)
    whole = list(usual)
    begun = loader(DevicePanel(ENCODED, CPU))
    batches = iter(begun)
    for expected in whole[:5]:
        assert_same_batch(next(batches), expected)
    resumed = loader(DevicePanel(ENCODED, CPU))
    resumed.load_state_dict(begun.state_dict())
    rest = list(resumed)
    assert len(rest) == len(whole) - 5
    for batch, expected in zip(rest, whole[5:], strict=True):
        assert_same_batch(batch, expected)


def test_workers_are_refused_for_a_panel_on_a_device():
    with pytest.raises(AssertionError, match="in the process itself"):
        load(DevicePanel(ENCODED, CPU), INDEX, batch_size=4, num_workers=1)


def test_the_gatherer_depends_on_where_the_panel_is():
    assert isinstance(make_gatherer(DevicePanel(ENCODED, CPU), INDEX), DeviceGatherer)
    assert not isinstance(make_gatherer(ENCODED, INDEX), DeviceGatherer)


def test_a_panel_goes_to_the_device_if_it_takes_at_most_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    size = bytes_on_device(ENCODED)
    monkeypatch.setattr(device_gatherer, "free_bytes", lambda _: 2 * size)
    assert isinstance(maybe_move_to_device(ENCODED, CPU), DevicePanel)
    monkeypatch.setattr(device_gatherer, "free_bytes", lambda _: 2 * size - 1)
    assert maybe_move_to_device(ENCODED, CPU) is ENCODED


def test_the_copy_can_be_requested_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(maybe_move_to_device(ENCODED, CPU, requested=True), DevicePanel)
    monkeypatch.setattr(device_gatherer, "free_bytes", lambda _: 10**12)
    assert maybe_move_to_device(ENCODED, CPU, requested=False) is ENCODED


def test_on_cpus_and_mps_the_panel_stays_unless_requested() -> None:
    assert free_bytes(CPU) is None
    assert free_bytes(torch.device("mps")) is None
    assert maybe_move_to_device(ENCODED, CPU) is ENCODED


def test_memory_that_torch_caches_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1_000, 8_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 200)
    assert free_bytes(torch.device("cuda")) == 1_300


def test_a_panel_that_does_not_fit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # as long as no machine's memory: whatever reads it as a whole ends here
    endless = np.broadcast_to(np.float32(0), (10**11, ENCODED.reals.shape[1]))
    large = replace(ENCODED, reals=endless)
    monkeypatch.setattr(device_gatherer, "free_bytes", lambda _: 80 * 2**30)
    assert maybe_move_to_device(large, CPU) is large


def test_the_panel_stays_where_the_memory_is_gone_when_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(device_gatherer, "DevicePanel", full)
    monkeypatch.setattr(device_gatherer, "free_bytes", lambda _: 10**12)
    assert maybe_move_to_device(ENCODED, CPU) is ENCODED
    with pytest.raises(torch.OutOfMemoryError):
        maybe_move_to_device(ENCODED, CPU, requested=True)


def test_few_windows_of_a_long_panel_are_not_worth_its_copy() -> None:
    ends = WindowIndex.at_end(lengths=[40, 30], lookback=8, horizon=4)
    assert is_worth_copying(ENCODED, INDEX)
    assert not is_worth_copying(ENCODED, ends)
