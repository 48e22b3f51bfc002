"""Windows cut on a device are those of the plain gatherer, to the last bit, and no value is looked at for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.device_waits import META, no_waiting
from tests.helpers.encoded_panels import make_encoded

from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows import device_gatherer as resident
from fusecast.windows.dataloader import make_loader
from fusecast.windows.device_gatherer import DeviceGatherer, DevicePanel, bytes_on_device
from fusecast.windows.gatherer import gatherer_of
from fusecast.windows.panel_tensors import PanelTensors
from fusecast.windows.torch_gatherer import TorchGatherer
from fusecast.windows.window_index import WindowIndex

CPU = torch.device("cpu")
ENCODED = make_encoded([40, 30])
INDEX = WindowIndex.between(lengths=[40, 30], begin=0, end=40, lookback=8, horizon=4)  # 29 + 19 windows


def every_cutoff(lengths: list[int], lookback: int, horizon: int, stride: int = 1) -> WindowIndex:
    cutoffs = np.asarray(lengths)
    first = np.ones_like(cutoffs)
    return WindowIndex(lookback=lookback, horizon=horizon, first_cutoff=first, last_cutoff=cutoffs, stride=stride)


def resident_gatherer(encoded: EncodedPanel, index: WindowIndex, device: torch.device = CPU) -> DeviceGatherer:
    return DeviceGatherer(DevicePanel(encoded, device), index)


def assert_same(batch: Batch, expected: Batch) -> None:
    for name, wanted in expected._asdict().items():
        got = getattr(batch, name)
        assert (got.shape, got.dtype, got.is_contiguous()) == (wanted.shape, wanted.dtype, True), name
        torch.testing.assert_close(got, wanted, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}")


few = st.integers(0, 2)
panels = st.fixed_dictionaries(
    {
        "lengths": st.lists(st.integers(0, 14), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) > 0),
        "missing": st.sampled_from([0.0, 0.02, 0.3, 1.0]),
        "empty_rows": st.sampled_from([0.0, 0.05, 0.3]),
        "window_scaling": st.sampled_from(["none", "mean", "last"]),
        "targets": st.integers(1, 3),
        "position": st.booleans(),
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
@settings(max_examples=300, deadline=None)
def test_batches_cut_on_a_device_are_those_of_the_plain_gatherer(columns, lookback, horizon, stride, data):
    encoded = make_encoded(**columns)
    index = every_cutoff(columns["lengths"], lookback, horizon, stride)
    windows = np.array(data.draw(st.lists(st.integers(0, len(index) - 1), min_size=1, max_size=12)))
    plain = TorchGatherer(PanelTensors(encoded), index)
    on_device = resident_gatherer(encoded, index)
    assert_same(on_device(windows), plain(windows))
    for number, batch in enumerate(on_device.batches(windows, 5)):
        assert_same(batch, plain(windows[number * 5 : number * 5 + 5]))


def test_bytes_a_row_are_right_across_the_blocks_in_which_they_are_made(monkeypatch):
    encoded = make_encoded([23, 18], missing=0.1, empty_rows=0.2, known_categories=0, observed_categories=0)
    whole = resident.missing_by_row(encoded)
    monkeypatch.setattr(resident, "ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(resident.missing_by_row(encoded), whole)
    assert len(np.unique(whole)) > 3, "the test needs rows that lack different things"


def test_no_windows_are_an_empty_batch():
    assert resident_gatherer(ENCODED, INDEX)([]).past_real.shape == (0, 8, 4)
    assert resident_gatherer(make_encoded([40, 30], missing=0.3), INDEX)([]).past_mask.shape == (0, 0)


def test_a_window_that_there_is_not_is_refused():
    with pytest.raises(IndexError, match="numbered 0 to 47, not 48"):
        resident_gatherer(ENCODED, INDEX)([48])


@pytest.mark.parametrize("window_scaling", ["none", "mean", "last"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_batch_takes_one_copy_and_no_look_at_the_device(window_scaling, missing):
    # tensors of the device "meta" have no values: whoever looks at one is refused by torch as well
    encoded = make_encoded([40, 30, 5], missing=missing, empty_rows=missing, targets=2, window_scaling=window_scaling)
    index = every_cutoff([40, 30, 5], 8, 4)
    gatherer = resident_gatherer(encoded, index, META)
    plain = TorchGatherer(PanelTensors(encoded), index)
    for windows in ([10, 50], [0, 45, 74], [40]):  # within, on both sides, beyond the end
        with no_waiting() as sent:
            batch = gatherer(windows)
        assert sent == ["_to_copy"]
        for name, wanted in plain(windows)._asdict().items():
            got = getattr(batch, name)
            assert (got.device, got.shape, got.dtype) == (META, wanted.shape, wanted.dtype), name


def test_the_check_sees_looks_and_copies():
    with no_waiting(), pytest.raises(AssertionError, match="_local_scalar_dense looks at a value"):
        bool(torch.ones(()))
    with no_waiting(), pytest.raises(AssertionError, match="indexing by a mask"):
        torch.ones(3)[torch.ones(3, dtype=torch.bool)]
    with no_waiting() as sent:
        torch.ones(3).to(META)
        torch.tensor([1.0, 2.0], device=META)
        torch.where(torch.ones(3, dtype=torch.bool), torch.zeros(3), 1.0)
    assert sent == ["_to_copy", "tensor"]


def test_one_panel_serves_several_gatherers_and_can_be_given_back():
    panel = DevicePanel(ENCODED, CPU)
    train, valid = DeviceGatherer(panel, INDEX), DeviceGatherer(panel, INDEX.subset([1]))
    assert train.panel.reals is valid.panel.reals
    kept = train([3])
    panel.release()
    assert panel.reals.numel() == 0
    assert_same(kept, TorchGatherer(PanelTensors(ENCODED), INDEX)([3]))


def test_on_the_cpu_nothing_is_copied_and_mapped_arrays_stay_in_their_file(tmp_path):
    np.save(tmp_path / "reals.npy", ENCODED.reals)
    mapped = replace(ENCODED, reals=np.load(tmp_path / "reals.npy", mmap_mode="r"))
    panel = DevicePanel(mapped, CPU)
    assert panel.reals.data_ptr() == mapped.reals.ctypes.data
    assert_same(DeviceGatherer(panel, INDEX)([3, 40]), resident_gatherer(ENCODED, INDEX)([3, 40]))


def test_the_bytes_on_a_device_are_those_of_the_tensors_there():
    encoded = make_encoded([40, 30], missing=0.1)
    panel = DevicePanel(encoded, META)
    held = [each for each in vars(panel).values() if isinstance(each, torch.Tensor) and each.device == META]
    assert len(held) == 8
    assert bytes_on_device(encoded) == sum(each.numel() * each.element_size() for each in held)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 2])
def test_a_loader_of_a_panel_on_a_device_gives_the_same_windows_in_the_same_order(shuffle, world):
    encoded = make_encoded([40, 30], missing=0.2)

    def batches(source: EncodedPanel | DevicePanel, rank: int) -> list[Batch]:
        options = {"shuffle": shuffle, "seed": 4, "windows_per_epoch": 33, "rank": rank, "world": world}
        return list(make_loader(source, INDEX, batch_size=5, **options))

    for rank in range(world):
        usual, on_device = batches(encoded, rank), batches(DevicePanel(encoded, CPU), rank)
        assert len(usual) == len(on_device) > 1
        for one, other in zip(on_device, usual, strict=True):
            assert_same(one, other)


def test_a_loader_of_a_panel_on_a_device_goes_on_within_an_epoch():
    def loader(source: EncodedPanel | DevicePanel):
        return make_loader(source, INDEX, batch_size=4, shuffle=True, seed=5)

    usual = loader(ENCODED)
    whole = list(usual)
    begun = loader(DevicePanel(ENCODED, CPU))
    batches = iter(begun)
    for expected in whole[:5]:
        assert_same(next(batches), expected)
    resumed = loader(DevicePanel(ENCODED, CPU))
    resumed.load_state_dict(begun.state_dict())
    rest = list(resumed)
    assert len(rest) == len(whole) - 5
    for batch, expected in zip(rest, whole[5:], strict=True):
        assert_same(batch, expected)


def test_workers_are_refused_for_a_panel_on_a_device():
    with pytest.raises(AssertionError, match="in the process itself"):
        make_loader(DevicePanel(ENCODED, CPU), INDEX, batch_size=4, num_workers=1)


def test_the_source_decides_who_gathers():
    assert isinstance(gatherer_of(DevicePanel(ENCODED, CPU), INDEX), DeviceGatherer)
    assert not isinstance(gatherer_of(ENCODED, INDEX), DeviceGatherer)
