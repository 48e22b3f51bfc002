"""The settings of the training script. Edit them here: they are what ``python train_tft_lightning.py`` trains with.

For a single run, override them by name: ``python train_tft_lightning.py --config num_epochs=10 hidden_size=64``.
"""

from pathlib import Path

try:
    from fusecast.compat.lightning_scripts import config
except ImportError as error:
    command = f'pip install -e "{Path(__file__).resolve().parent}"'
    raise ImportError(f"{error}\nHint: {command}   installs fusecast and all that it needs") from error


class LightningTrainingConfig(config.LightningTrainingConfig):
    """How ``train_tft_lightning`` trains."""

    # The network
    hidden_size: int = 32
    num_heads: int = 4  # must divide hidden_size
    num_lstm_layers: int = 1
    dropout: float = 0.1

    # The data
    data_path: str | Path | None = None  # a CSV, Parquet or Arrow table; None: the bundled data set
    window_size: int = 100  # steps of history before the step that is forecast

    # Training
    num_epochs: int = 100
    batch_size: int = 256  # windows a step, on each device
    learning_rate: float = 0.0005
    lr_scheduler_factor: float = 0.5  # of the learning rate, after lr_scheduler_patience epochs without improvement
    lr_scheduler_patience: int = 8
    early_stopping_patience: int | None = 20  # epochs without improvement; None: never stop early
    early_stopping_min_delta: float = 1e-5
    gradient_clip_val: float | None = 1.0  # largest norm of the gradient; None: unlimited
    random_seed: int = 42

    # The machine
    accelerator: str = "auto"  # CUDA, else MPS, else CPU; or "cpu", "cuda", "mps"
    devices: int = 1
    num_nodes: int = 1  # machines that train together
    precision: str | int | None = None  # None: mixed on CUDA, 32 elsewhere; or "32", "16", "bf16", "64"

    # Files
    checkpoint_dir: str | Path = "checkpoints_lightning"
    ckpt_path: str | Path | None = None  # a checkpoint to resume from; "last": the newest one in checkpoint_dir
    checkpoint_minutes: float | None = 5.0  # between writings of last.ckpt within an epoch; None: only after epochs
    checkpoint_steps: int | None = None  # the same in steps
    logger: str = "tensorboard"  # or "csv", "mlflow", "wandb", "none"
