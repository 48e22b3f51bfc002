"""Train a Temporal Fusion Transformer to forecast the next step of a table.

python train_tft_lightning.py
python train_tft_lightning.py --config num_epochs=10 hidden_size=64 data_path=table.csv
python train_tft_lightning.py --config ckpt_path=last                 # go on with a run that was stopped

The settings are those of config_lightning.py.
"""

from pathlib import Path
from typing import Any

from config_lightning import LightningTrainingConfig

try:
    import pytorch_lightning as pl

    from fusecast.compat.lightning_scripts import train
    from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
    from fusecast.compat.lightning_scripts.predict import predict_with_model
except ImportError as error:
    command = f'pip install -e "{Path(__file__).resolve().parent}"'
    raise ImportError(f"{error}\nHint: {command}   installs fusecast and all that it needs") from error

__all__ = ["predict_with_model", "train_tft_lightning"]


def train_tft_lightning(config: Any = None) -> tuple[TemporalFusionTransformerLightning, pl.Trainer]:
    """Train with a config: any object with settings as attributes; those it lacks are of config_lightning.py.

    Returns the model with the weights of the smallest validation loss, and the trainer; see
    :func:`fusecast.compat.lightning_scripts.train.train_tft_lightning`.
    """
    return train.train_tft_lightning(config, defaults=LightningTrainingConfig)


if __name__ == "__main__":
    train.main(defaults=LightningTrainingConfig)
