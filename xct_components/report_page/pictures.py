"""Single pictures of a result, each with its warning, side marks and scale bar in the pixels, as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from xct_components.report import SCALE_BAR_MM, WARNING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

#: Width of a picture on the page's finest screens.
WIDTH_PIXELS = 640
#: A picture takes about 50 kB; PNG would take 200.
JPEG_QUALITY = 88
#: Colours from black to white of a window, in equal steps.
GREY = ("#000000", "#ffffff")
HEAT = ("#05060c", "#3b1d6e", "#a12c6b", "#e5604a", "#fbb43f", "#fdf6c3")
#: Blue where the CT attenuates more than the film says, orange where less.
DIVERGING = ("#7cc4ff", "#1f5f99", "#11151c", "#a85a16", "#ffc27a")

_ACCENT, _ALERT, _SHADOW = "#5cc8ff", "#ffb454", "#000000"


@dataclass(frozen=True)
class Picture:
    """What a picture shows.

    Args:
        values: (rows, cols).
        window: values shown with the first and the last colour.
        pixel_mm: height and width of a pixel.
        sides: the patient's side at the left, right, upper and lower edge: "RLHF".
        colours: one of ``GREY``, ``HEAT``, ``DIVERGING``.
    """

    values: Float[Tensor, "rows cols"]
    window: tuple[float, float]
    pixel_mm: tuple[float, float]
    sides: str
    colours: tuple[str, ...] = GREY


def data_uri(picture: Picture) -> str:
    """The picture as a JPEG that travels in the page."""
    stream = io.BytesIO()
    drawn(picture).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def drawn(picture: Picture) -> Image:
    """The picture with its marks; millimetres are square, ``WIDTH_PIXELS`` wide."""
    from PIL import Image, ImageDraw

    rows, cols = picture.values.shape
    height_mm, width_mm = rows * picture.pixel_mm[0], cols * picture.pixel_mm[1]
    size = (WIDTH_PIXELS, max(1, round(WIDTH_PIXELS * height_mm / width_mm)))
    image = Image.fromarray(_coloured(picture)).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    _draw_sides(draw, size, picture.sides)
    _draw_scale_bar(draw, size, WIDTH_PIXELS / width_mm)
    _text(draw, (16, size[1] - 14), WARNING, _ALERT, 17, "ls")
    return image


def _coloured(picture: Picture) -> UInt8[np.ndarray, "rows cols 3"]:
    low, high = picture.window
    shares = ((picture.values - low) / (high - low)).clamp(0.0, 1.0).nan_to_num().numpy()
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in picture.colours], dtype=float)
    places = np.linspace(0.0, 1.0, len(stops))
    return np.stack([np.interp(shares, places, stops[:, channel]) for channel in range(3)], axis=-1).round().astype(np.uint8)


def _draw_sides(draw: ImageDraw, size: tuple[int, int], sides: str) -> None:
    width, height = size
    places = ((16, height // 2, "lm"), (width - 16, height // 2, "rm"), (width // 2, 14, "mt"), (width // 2, height - 40, "ms"))
    for letter, (x, y, anchor) in zip(sides, places, strict=True):
        _text(draw, (x, y), letter, _ACCENT, 26, anchor)


def _draw_scale_bar(draw: ImageDraw, size: tuple[int, int], pixels_per_mm: float) -> None:
    right, low = size[0] - 16, size[1] - 16
    left = right - round(SCALE_BAR_MM * pixels_per_mm)
    draw.rectangle((left - 1, low - 4, right + 1, low + 1), fill=_SHADOW)
    draw.rectangle((left, low - 3, right, low), fill=_ACCENT)
    _text(draw, ((left + right) // 2, low - 9), f"{SCALE_BAR_MM:.0f} mm", _ACCENT, 17, "ms")


def _text(draw: ImageDraw, place: tuple[int, int], text: str, colour: str, size: int, anchor: str) -> None:
    """Text that is read on black and on white."""
    from PIL import ImageFont

    draw.text(place, text, colour, ImageFont.load_default(size), anchor, stroke_width=2, stroke_fill=_SHADOW)
