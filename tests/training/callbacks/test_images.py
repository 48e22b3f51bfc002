from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.helpers.training_fixtures import Train
from tests.helpers.training_images import draw_squares, image_logger

from fusecast.errors import ConfigError
from fusecast.training.callbacks.images import FigureData, ImageLogger


def logged(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder / "logs"))
    accumulator.Reload()
    return accumulator


def test_images_are_logged_after_epochs_0_1_3_and_at_the_end(train: Train, tmp_path: Path) -> None:
    train(logger="tensorboard", max_epochs=6, callbacks=[image_logger()])
    events = logged(tmp_path / "run")
    assert set(events.Tags()["images"]) == {"forecast", "importance"}
    assert [image.step for image in events.Images("forecast")] == [4, 8, 16, 24]
    assert events.Images("forecast")[0].encoded_image_string.startswith(b"\x89PNG")


def test_the_figure_data_are_those_of_the_first_validation_window(train: Train) -> None:
    drawn: list[FigureData] = []

    def draw(data: Sequence[FigureData], names: Sequence[str]) -> list[Mapping[str, bytes]]:
        drawn.extend(data)
        return draw_squares(data, names)

    result = train(logger="tensorboard", max_epochs=1, callbacks=[ImageLogger(["y"], draw, min_seconds=0)])
    (data,) = drawn
    horizon = result.network.config.horizon
    assert data.actual.shape == (horizon,)
    assert data.quantiles.shape == (horizon, len(data.levels))
    assert data.weights.sum() == pytest.approx(1.0)


def test_images_do_not_change_what_is_trained(train: Train, tmp_path: Path) -> None:
    with_images = train(folder=tmp_path / "1", logger="tensorboard", callbacks=[image_logger()])
    without = train(folder=tmp_path / "2", logger="none")
    for name in ("train_loss", "val_loss"):
        assert [row[name] for row in with_images.history] == [row[name] for row in without.history]


def test_short_training_draws_nothing(train: Train, tmp_path: Path) -> None:
    train(logger="tensorboard", max_epochs=2, callbacks=[image_logger(min_seconds=3600)])
    assert logged(tmp_path / "run").Tags()["images"] == []


def test_training_does_not_wait_for_images_while_it_goes_on(train: Train, tmp_path: Path) -> None:
    last_epoch = threading.Event()

    def draw(data: Sequence[FigureData], names: Sequence[str]) -> list[Mapping[str, bytes]]:
        assert last_epoch.wait(60)
        return draw_squares(data, names)

    class Logger(ImageLogger):
        def on_train_end(self, *arguments) -> None:
            last_epoch.set()
            super().on_train_end(*arguments)

    train(logger="tensorboard", max_epochs=3, callbacks=[Logger(["y"], draw, min_seconds=0)])
    assert [image.step for image in logged(tmp_path / "run").Images("forecast")] == [4, 8, 12]


def test_without_kaleido_training_goes_on_and_one_line_says_what_is_missing(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(data: Sequence[FigureData], names: Sequence[str]) -> list[Mapping[str, bytes]]:
        raise ConfigError.missing_extra("drawing figures", "kaleido", "plot")

    train(logger="tensorboard", max_epochs=4, callbacks=[ImageLogger(["y"], draw, min_seconds=0)])
    assert logged(tmp_path / "run").Tags()["images"] == []
    assert capsys.readouterr().err.count("No images are logged: drawing figures needs kaleido") == 1
