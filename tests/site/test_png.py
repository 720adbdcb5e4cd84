"""The files that are made of pixels are read by others as the same pixels."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from federant.site.png import is_pixels, png


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 3), (64, 257)])
def test_a_reader_finds_the_pixels_that_were_written(
    height: int, width: int, channels: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    found = imread(io.BytesIO(png(pixels)), format="png")
    np.testing.assert_array_equal(np.round(found * 255).astype(np.uint8), pixels)


def test_a_grey_image_has_one_channel() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    found = imread(io.BytesIO(png(pixels)), format="png")
    np.testing.assert_array_equal(np.round(found * 255).astype(np.uint8), pixels[:, :, 0])


def test_the_rows_of_a_view_are_written_in_its_order() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[:, ::-1]
    found = imread(io.BytesIO(png(pixels)), format="png")
    np.testing.assert_array_equal(np.round(found * 255).astype(np.uint8), pixels)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2), np.uint8),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        b"bytes",
        None,
    ],
)
def test_what_are_no_pixels_is_known(value: object) -> None:
    assert not is_pixels(value)
