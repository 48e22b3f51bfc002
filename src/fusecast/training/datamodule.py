"""WindowDataModule: the loaders of a run."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from fusecast.errors import TrainingError
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.training.config import TrainingConfig
from fusecast.windows.dataloader import WindowLoader, make_loader
from fusecast.windows.device_gatherer import DevicePanel, maybe_move_to_device
from fusecast.windows.window_index import WindowIndex

SAMPLED = 128
SAME = 1e-3
"""Numbers of a table that are looked at, and how far they may be off where it is the same one."""


class WindowDataModule(pl.LightningDataModule):
    """Windows of one encoded panel, for training, validation and test.

    The order of training windows follows from seed and epoch, and every process takes its own share of them. Lightning
    must not put samplers of its own in between: ``Trainer(use_distributed_sampler=False)``.

    When the first loader is made, the panel is copied to the device, where it fits there
    (``TrainingConfig.panel_on_device``); all loaders share that copy. It is given back when training ends.
    """

    def __init__(
        self,
        encoded: EncodedPanel,
        *,
        train: WindowIndex,
        valid: WindowIndex | None = None,
        test: WindowIndex | None = None,
        config: TrainingConfig,
    ) -> None:
        super().__init__()
        self.encoded = encoded
        self.train = train
        self.valid = (
            valid if valid is None or config.validation_windows is None else valid.thin(config.validation_windows)
        )
        self.test = test
        self.config = config
        self.seed = config.seed
        self.resident: DevicePanel | None = None  # the panel on the device, while it is there

    @property
    def validates(self) -> bool:
        """Whether there is any validation window."""
        return self.valid is not None and len(self.valid) > 0

    def train_dataloader(self) -> WindowLoader:
        """Shuffled windows, an epoch's worth at a time."""
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> WindowLoader | list[WindowLoader]:
        """Validation windows in order; nothing where there are none."""
        return self._loader(self.valid) if self.valid is not None and self.validates else []

    def test_dataloader(self) -> WindowLoader | list[WindowLoader]:
        """Test windows in order; nothing where there are none."""
        return self._loader(self.test) if self.test is not None and len(self.test) > 0 else []

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch; where it is there, nothing is left to Lightning, whose search costs half a millisecond."""
        there = device.type == "cpu" or (isinstance(batch, Batch) and batch.window.device == device)
        return batch if there else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def teardown(self, stage: str) -> None:  # noqa: ARG002  the signature is Lightning's
        """Give back the memory of the device; the loaders made so far are of no use any more then."""
        if self.resident is not None:
            self.resident.release()
            self.resident = None

    def state_dict(self) -> dict[str, Any]:
        """What the order of training windows follows from, beside the epoch, and a few numbers of the table."""
        return {"seed": self.seed, "windows": len(self.train), "sample": self._sample}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the order of the run that wrote a checkpoint.

        Raises
        ------
        TrainingError
            If it had another number of training windows, or another table.
        """
        if state_dict["windows"] != len(self.train):
            raise TrainingError.other_windows(state_dict["windows"], len(self.train))
        then, now = state_dict.get("sample"), self._sample
        if then is not None and not (len(then) == len(now) and np.allclose(then, now, rtol=SAME, atol=SAME)):
            raise TrainingError.other_data()
        self.seed = state_dict["seed"]

    @cached_property
    def _sample(self) -> list[float]:
        """Some hundred numbers by which a table is known again, whatever another machine rounds."""
        parts = (self.encoded.reals, self.encoded.center, self.encoded.scale)
        flat = [part.reshape(-1) for part in parts if part.size]
        chosen = [part[np.linspace(0, part.size - 1, SAMPLED).astype(np.int64)] for part in flat]
        sample: list[float] = np.concatenate(chosen).astype(np.float64).tolist()
        return sample

    def _loader(self, index: WindowIndex, *, shuffle: bool = False) -> WindowLoader:
        trainer = self.trainer
        world = 1 if trainer is None else trainer.world_size
        if not shuffle and len(index) < world:  # each judges all of them: an idle process would keep others waiting
            world = 1
        device = torch.device("cpu") if trainer is None else trainer.strategy.root_device
        source = self._placed(device)
        stays = source is self.encoded
        return make_loader(
            source,
            index,
            batch_size=self.config.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            windows_per_epoch=self.config.epoch_size(len(index)) if shuffle else None,
            num_workers=self.config.num_workers if stays else 0,
            pin_memory=stays and device.type == "cuda",
            rank=0 if trainer is None or world == 1 else trainer.global_rank,
            world=world,
        )

    def _placed(self, device: torch.device) -> EncodedPanel | DevicePanel:
        """Put the panel where its windows are to be cut."""
        if self.resident is None:
            placed = maybe_move_to_device(self.encoded, device, self.config.panel_on_device)
            self.resident = placed if isinstance(placed, DevicePanel) else None
        return self.resident or self.encoded
