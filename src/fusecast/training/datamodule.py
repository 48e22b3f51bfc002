"""WindowDataModule: the loaders of a run."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch

from fusecast.errors import TrainingError
from fusecast.model.batch import Batch
from fusecast.windows.dataloader import WindowLoader, make_loader
from fusecast.windows.device_gatherer import DevicePanel, maybe_move_to_device
from fusecast.windows.sampler import SeededSampler

if TYPE_CHECKING:
    from fusecast.config import TrainingConfig
    from fusecast.features.encoded_panel import EncodedPanel
    from fusecast.windows.window_index import WindowIndex

SAMPLE_SIZE = 128
"""Values of each array of a table that are kept in checkpoints, so that another table is recognised."""
SAMPLE_TOLERANCE = 1e-3


class WindowDataModule(pl.LightningDataModule):
    """Windows of one encoded panel, for training (`train`) and validation (`valid`; None, or an index of length 0).

    The order of training windows follows from seed and epoch, and every process takes its share of them. Lightning
    must not put its samplers in between: ``Trainer(use_distributed_sampler=False)``.

    When the first loader is made, the panel is copied to the device, where it fits there
    (``TrainingConfig.panel_on_device``); all loaders share that copy. It is released when training ends.
    """

    def __init__(
        self, encoded: EncodedPanel, *, train: WindowIndex, valid: WindowIndex | None = None, config: TrainingConfig
    ) -> None:
        super().__init__()
        self.encoded = encoded
        self.train = train
        if valid is not None and config.validation_windows is not None:
            valid = valid.thin(config.validation_windows)
        self.valid = valid
        self.config = config
        self.seed = config.seed
        self.panel_on_device: DevicePanel | None = None  # while it is there

    @property
    def validates(self) -> bool:
        """Whether there is any validation window."""
        return self.valid is not None and len(self.valid) > 0

    def train_dataloader(self) -> WindowLoader:
        """Return a loader of shuffled windows, an epoch at a time."""
        return self._make_loader(self.train, shuffle=True)

    def val_dataloader(self) -> WindowLoader | list[WindowLoader]:
        """Return a loader of validation windows in order; an empty list where there are none."""
        return self._make_loader(self.valid) if self.valid is not None and self.validates else []

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch, unless it is there already: Lightning's search for tensors costs half a millisecond."""
        is_there = device.type == "cpu" or (isinstance(batch, Batch) and batch.window.device == device)
        return batch if is_there else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def teardown(self, stage: str) -> None:  # noqa: ARG002  the signature is that of Lightning
        """Release the memory of the device; the loaders made so far cannot be used any more."""
        if self.panel_on_device is not None:
            self.panel_on_device.release()
            self.panel_on_device = None

    def state_dict(self) -> dict[str, Any]:
        """Return what the order of training windows follows from, beside the epoch, and a few numbers of the table."""
        return {"seed": self.seed, "windows": len(self.train), "sample": self._sample}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue in the order of the run that wrote a checkpoint.

        A TrainingError is raised where it had another number of training windows, or another table.
        """
        if state_dict["windows"] != len(self.train):
            raise TrainingError.other_windows(state_dict["windows"], len(self.train))
        saved, sample = state_dict.get("sample"), self._sample
        if saved is not None and not (
            len(saved) == len(sample) and np.allclose(saved, sample, rtol=SAMPLE_TOLERANCE, atol=SAMPLE_TOLERANCE)
        ):
            raise TrainingError.other_data()
        self.seed = state_dict["seed"]

    @cached_property
    def _sample(self) -> list[float]:
        """Some hundred numbers by which a table is recognised, whatever another machine rounds."""
        arrays = (self.encoded.reals, self.encoded.center, self.encoded.scale)
        flat = [array.reshape(-1) for array in arrays if array.size]
        chosen = [array[np.linspace(0, array.size - 1, SAMPLE_SIZE).astype(np.int64)] for array in flat]
        sample: list[float] = np.concatenate(chosen).astype(np.float64).tolist()
        return sample

    def _make_loader(self, index: WindowIndex, *, shuffle: bool = False) -> WindowLoader:
        trainer = self.trainer
        device = torch.device("cpu") if trainer is None else trainer.strategy.root_device
        rank, world_size = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        if not shuffle and len(index) < world_size:  # each validates all: a process without windows would block others
            rank, world_size = 0, 1
        if self.panel_on_device is None:
            copied = maybe_move_to_device(self.encoded, device, self.config.panel_on_device)
            self.panel_on_device = copied if isinstance(copied, DevicePanel) else None
        source = self.panel_on_device or self.encoded
        on_host = source is self.encoded
        sampler = SeededSampler(
            len(index),
            batch_size=self.config.batch,
            shuffle=shuffle,
            seed=self.seed,
            windows_per_epoch=self.config.epoch_size(len(index)) if shuffle else None,
            rank=rank,
            world_size=world_size,
        )
        num_workers = self.config.num_workers if on_host else 0
        return make_loader(
            source, index, sampler, num_workers=num_workers, pin_memory=on_host and device.type == "cuda"
        )
