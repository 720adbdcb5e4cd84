"""What people log as an image, made into one form: pixels of uint8, height by width by channels.

Nothing here knows of files or formats: an image is compressed where it leaves the site.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

FORMATS: Final = ("CHW", "HWC", "HW")
MAX_PIXEL_BYTES: Final = 16 << 20
"""What one image may have: 16 MiB, 2364 pixels square in colour."""

_MOST_CHANNELS: Final = 4

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def pixels_of(tag: str, image: Any, dataformats: str) -> Pixels:
    """A copy of an image as uint8 of shape (height, width, channels), channels from 1 to 4.

    ``image`` is an array, or what numpy makes one of (a tensor of any framework, also on a device),
    laid out as ``dataformats`` says, or a PIL image, which needs no saying. uint8 and bool stay as
    they are (bool: 0 and 255), floats are brightness from 0.0 to 1.0, and what is beyond is cut.

    Raises:
        ValueError: the layout is unknown or not that of the array, or the image is too large.
        TypeError: this is no image.
    """
    if dataformats not in FORMATS:
        raise ValueError(
            f"image {tag!r}: dataformats must be one of {', '.join(FORMATS)}, got {dataformats!r}"
        )
    if hasattr(image, "getbands"):
        array = np.asarray(image if image.mode in ("L", "LA", "RGB", "RGBA") else _plain(image))
        dataformats = "HW" if array.ndim == 2 else "HWC"
    else:
        array = _array(image)
    if array.ndim != len(dataformats):
        raise ValueError(
            f"image {tag!r} has the shape {array.shape}, which is not {dataformats}; say its "
            f"layout, as in add_image(tag, image, step, dataformats='{'HWC'[: array.ndim]}')"
        )
    if dataformats == "HW":
        array = array[:, :, None]
    elif dataformats == "CHW":
        array = np.moveaxis(array, 0, -1)
    height, width, channels = array.shape
    if not (0 < channels <= _MOST_CHANNELS and height and width):
        raise ValueError(
            f"image {tag!r} of {dataformats} has {height} x {width} pixels of {channels} channels; "
            f"1 to {_MOST_CHANNELS} channels can be shown: is the layout another, as in "
            f"dataformats='{'CHW' if dataformats == 'HWC' else 'HWC'}'?"
        )
    if array.size > MAX_PIXEL_BYTES:
        raise ValueError(
            f"image {tag!r} has {array.size} bytes of pixels, and one may have {MAX_PIXEL_BYTES}; "
            "log a smaller one"
        )
    return _bytes(tag, array)


def _plain(image: Any) -> Any:
    return image.convert("RGBA" if "A" in image.getbands() else "RGB")


def _array(image: Any) -> np.ndarray[Any, Any]:
    for step in ("detach", "cpu"):  # of a tensor that has a gradient, or lies on a device
        if hasattr(image, step):
            image = getattr(image, step)()
    return np.asarray(image)


def _bytes(tag: str, array: np.ndarray[Any, Any]) -> Pixels:
    if array.dtype == np.uint8:
        return np.array(array, order="C")
    if array.dtype == np.bool_:
        return np.where(array, np.uint8(255), np.uint8(0))
    if array.dtype.kind != "f":
        raise TypeError(
            f"image {tag!r} is an array of dtype {array.dtype}; uint8 (0 to 255), floats (0 to 1) "
            "and bool are images"
        )
    bright = np.nan_to_num(array.astype(np.float32), nan=0.0)
    scaled: Pixels = (np.clip(bright, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return scaled
