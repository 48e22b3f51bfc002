from __future__ import annotations

import io

import numpy as np
from PIL import Image
from tests.helpers.images import needs_kaleido

from fusecast.reporting.training_images import draw_training_images, training_figures
from fusecast.training.callbacks.images import FigureData

NAMES = ("y", "$x_{$ <b>")
DATA = FigureData(
    past=np.arange(10.0),
    actual=np.array([10.0, 11.0]),
    quantiles=np.array([[9.0, 10.0, 11.0], [9.5, 11.0, 12.5]]),
    levels=(0.1, 0.5, 0.9),
    weights=np.array([0.3, 0.7]),
)


def test_the_figures_show_the_forecast_and_the_importances() -> None:
    figures = training_figures(DATA, NAMES)
    traces = {trace.name: trace for trace in figures["forecast"].data if trace.name}
    assert list(traces["actual"].x) == list(range(-10, 2))
    assert list(traces["forecast, median"].y) == [10.0, 11.0]
    assert list(traces["80% interval"].x) == [0, 1]
    assert list(figures["importance"].data[0].x) == [0.3, 0.7]
    assert list(figures["importance"].layout.yaxis.ticktext) == ["y", "$x_{$ &lt;b&gt;"]


@needs_kaleido
def test_each_validation_batch_becomes_two_images() -> None:
    (images,) = draw_training_images([DATA], NAMES)
    assert set(images) == {"forecast", "importance"}
    for png in images.values():
        with Image.open(io.BytesIO(png)) as image:
            assert image.format == "PNG"
            assert image.width == 900
