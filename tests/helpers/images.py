"""Files of figures: what draws them, and whether they show anything."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fusecast.reporting.export import find_browser

needs_kaleido = pytest.mark.skipif(
    find_spec("kaleido") is None or find_browser() is None, reason="kaleido or a browser is not installed"
)
MIN_INK = 0.002
"""Share of the pixels of a figure that differ from its background, at least."""


def assert_is_image(path: Path) -> None:
    """Raise an AssertionError unless a file is a PNG, SVG or PDF of its ending that shows something."""
    content = path.read_bytes()
    if path.suffix == ".png":
        from PIL import Image

        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.int64)
        assert pixels.shape[1] > 1000
        ink = np.abs(pixels - pixels[0, 0]).sum(axis=-1) > 30
        assert ink.mean() > MIN_INK, path
    elif path.suffix == ".svg":
        text = content.decode()
        assert text.startswith("<svg")
        assert 'class="trace' in text or 'class="hm"' in text or 'class="point"' in text, path
    else:
        assert content.startswith(b"%PDF-"), path
        assert content.rstrip().endswith(b"%%EOF"), path


def write_empty_images(figures: Iterable[str], folder: Path, kind: str = "png", scale: float = 1) -> list[Path]:
    """Write empty files in place of figures: what `write_images` does, without a browser."""
    paths = [folder / f"{name}.{kind}" for name in figures]
    for path in paths:
        path.touch()
    return paths
