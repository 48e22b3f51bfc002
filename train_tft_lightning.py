"""Train a Temporal Fusion Transformer to forecast the next step of a table.

python train_tft_lightning.py
python train_tft_lightning.py --config num_epochs=10 hidden_size=64 data_path=table.csv
"""

from fusecast.compat.lightning_scripts.predict import predict_with_model
from fusecast.compat.lightning_scripts.train import main, train_tft_lightning

__all__ = ["predict_with_model", "train_tft_lightning"]

if __name__ == "__main__":
    main()
