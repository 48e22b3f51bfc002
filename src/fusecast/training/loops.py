"""Where a checkpoint says that training stood, mended where Lightning would go on from elsewhere."""

from __future__ import annotations

from typing import Any


def end_the_epoch_first(fit_loop: dict[str, Any]) -> None:
    """Let a run resumed from after the last step of an epoch validate, and end the epoch, before the next begins.

    A ``ModelCheckpoint(every_n_train_steps=...)`` may write after an epoch's last step, before its validation.
    Lightning (2.6) takes such an epoch for ended: its validation, early stopping and learning rate would be left out.
    Told that it stopped within validation, it does what is right. Other checkpoints are left as they are.

    Parameters
    ----------
    fit_loop
        ``checkpoint["loops"]["fit_loop"]``, changed in place.
    """
    batches, epochs = fit_loop["epoch_loop.batch_progress"], fit_loop["epoch_progress"]
    within_epoch = epochs["current"]["processed"] < epochs["current"]["started"]
    after_step = batches["current"]["completed"] < batches["current"]["processed"]
    if not (batches["is_last_batch"] and within_epoch and after_step):
        return
    for count in (batches["current"], batches["total"]):
        count["completed"] = count["processed"]
    validation = fit_loop["epoch_loop.val_loop.batch_progress"]
    validation["total"].update(ready=1, started=1, processed=0, completed=0)
    validation["current"].update(ready=1, started=1, processed=0, completed=0)
