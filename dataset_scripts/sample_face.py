"""Faces of the embedded sample: a head drawn with numpy whose mouth, brows and eyes follow the emotion.

Shapes are drawn by coverage: the share of a pixel inside a shape is its signed distance to the edge, shifted by half a
pixel and clipped, which antialiases without supersampling. All frames of a clip are drawn at once. The nine expressions
follow the usual action units (Ekman & Friesen 1978: brow raiser and lowerer, lid raiser, lip corner puller and
depressor, jaw drop, nose wrinkler), exaggerated so that they survive 64 x 64 pixels and a lossy encoder.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

FRAME_SIZE = 64  # pixels, both sides
FRAME_RATE = 8  # frames per second
ONSET = 0.25  # share of the clip within which the expression comes up
WEAKEST = 0.7  # share of the way from neutral to the full expression that the weakest one goes
BLINK_SHARE = 0.5  # of the clips have one blink

SKINS = ((236, 196, 170), (222, 176, 142), (198, 150, 116), (168, 120, 90), (243, 210, 190))
HAIRS = ((40, 30, 26), (84, 56, 36), (120, 84, 44), (70, 70, 76), (58, 36, 50))
BACKGROUNDS = ((120, 140, 160), (140, 150, 130), (150, 140, 150), (110, 130, 130), (160, 150, 130))
DARK, WHITE, LIPS = (24, 18, 20), (250, 250, 250), (170, 52, 60)


@dataclass(frozen=True)
class Look:
    """What stays the same in a speaker's face: three RGB colours (0..255)."""

    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    background: tuple[int, int, int]


@dataclass(frozen=True)
class Expression:
    """An expression as geometry, in pixels of the 64 x 64 frame unless said otherwise.

    Args:
        mouth_width: half the width of the mouth.
        mouth_curve: how far the corners stand above the middle; negative: below.
        mouth_open: height of the opening.
        mouth_skew: how far the right corner stands above the left.
        teeth: share of the opening that shows teeth.
        brow_height: how far the brows are raised.
        brow_slope: how far the inner end stands above the outer; negative: below.
        eye_open: factor on the height of the eye.
        gaze: how far the pupils are lowered.
        wrinkle: strength of the nose wrinkles, 0..1.
    """

    mouth_width: float
    mouth_curve: float
    mouth_open: float
    mouth_skew: float
    teeth: float
    brow_height: float
    brow_slope: float
    eye_open: float
    gaze: float
    wrinkle: float


# Order of the values: mouth width, curve, open, skew, teeth, brow height, brow slope, eye open, gaze, wrinkle.
EXPRESSIONS = {
    "neutral": Expression(8.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.8, 0.0, 0.0),
    "joy": Expression(11.0, 6.5, 1.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.0),
    "surprise": Expression(5.0, 0.0, 12.0, 0.0, 0.0, 5.0, 0.0, 1.5, 0.0, 0.0),
    "anger": Expression(9.0, -2.0, 5.0, 0.0, 1.0, -3.0, -6.0, 0.6, 0.0, 0.0),
    "sadness": Expression(8.0, -6.0, 0.5, 0.0, 0.0, 0.5, 6.0, 0.45, 1.6, 0.0),
    "disgust": Expression(8.0, -2.0, 2.0, 7.0, 0.0, -2.5, -2.0, 0.4, 0.0, 1.0),
    "fear": Expression(12.5, -3.0, 6.0, 0.0, 0.0, 4.0, 4.5, 1.5, 0.0, 0.0),
    "excited": Expression(11.0, 5.0, 10.0, 0.0, 0.5, 4.0, 0.0, 1.1, 0.0, 0.0),
    "frustrated": Expression(5.0, -1.5, 0.0, 0.0, 0.0, -3.0, -3.0, 0.05, 0.0, 0.3),
}


def draw_look(rng: np.random.Generator) -> Look:
    """A speaker's colours; they say nothing about the emotion."""
    return Look(*(_vary(options, rng) for options in (SKINS, HAIRS, BACKGROUNDS)))


def _vary(options: Sequence[tuple[int, int, int]], rng: np.random.Generator) -> tuple[int, int, int]:
    colour = np.array(options[int(rng.integers(len(options)))]) + rng.integers(-6, 7, size=3)
    return tuple(int(value) for value in np.clip(colour, 0, 255))


def draw_clip(look: Look, emotion: str, strength: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """The frames of one utterance at 8 frames per second.

    The first frame is neutral; the expression is up after a quarter of the clip and stays.

    Args:
        look: the speaker.
        emotion: one of `EXPRESSIONS`.
        strength: in [0, 1]: bigger mouth and brows.
        count: number of frames, at least 1.
        rng: draws head motion, the blink and the talking mouth.

    Returns:
        uint8 array (count, 64, 64, 3), RGB.
    """
    progress = np.arange(count) / max(1, count - 1)
    share = _smoothstep(progress / ONSET) * (WEAKEST + (1.0 - WEAKEST) * strength)
    plain, full = np.array(astuple(EXPRESSIONS["neutral"])), np.array(astuple(EXPRESSIONS[emotion]))
    values = plain + share[:, None] * (full - plain)  # (T, 10)
    expression = Expression(*values.astype(np.float32).T[:, :, None, None])  # each field (T, 1, 1)
    expression = _enliven(expression, count, rng)
    return _draw_face(look, expression, _head_motion(count, rng))


def _smoothstep(position: np.ndarray) -> np.ndarray:
    clipped = np.clip(position, 0.0, 1.0)
    return clipped * clipped * (3.0 - 2.0 * clipped)


def _enliven(expression: Expression, count: int, rng: np.random.Generator) -> Expression:
    """The mouth opens a little at random as it talks; in some clips the eyes close for one frame."""
    talking = rng.uniform(0.0, 1.0, count).astype(np.float32)[:, None, None]
    lids = np.ones((count, 1, 1), dtype=np.float32)
    frame = int(rng.integers(count))
    if rng.random() < BLINK_SHARE:
        lids[frame] = 0.1
    fields = dict(vars(expression))
    fields["mouth_open"] = expression.mouth_open + talking
    fields["eye_open"] = expression.eye_open * lids
    return Expression(**fields)


def _head_motion(count: int, rng: np.random.Generator) -> np.ndarray:
    """Offset of the head in pixels (count, 2): a slow sway of at most 1.2 pixels around a place within half a pixel."""
    phase = rng.uniform(0.0, 2 * np.pi, 2) + np.linspace(0.0, rng.uniform(1.0, 4.0), count)[:, None]
    return (rng.uniform(-0.5, 0.5, 2) + rng.uniform(0.2, 1.2, 2) * np.sin(phase)).astype(np.float32)


class _Canvas:
    """Frames as planes (3, T, 64, 64) in float32, with pixel coordinates relative to the middle of the moving head.

    Planes, because arithmetic along rows of 64 is several times faster than along three channels.
    """

    def __init__(self, colour: tuple[int, int, int], motion: np.ndarray):
        self.planes = np.empty((3, len(motion), FRAME_SIZE, FRAME_SIZE), dtype=np.float32)
        self.planes[:] = np.reshape(colour, (3, 1, 1, 1))
        pixels = np.arange(FRAME_SIZE, dtype=np.float32) - FRAME_SIZE / 2 + 0.5
        self._x = pixels[None, None, :] - motion[:, 0, None, None]  # (T, 1, 64)
        self._y = pixels[None, :, None] - motion[:, 1, None, None]  # (T, 64, 1)

    def window(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Planes, x and y of some rows only: small shapes need not be computed over the whole face."""
        rows = slice(top, bottom)
        return self.planes[:, :, rows], self._x, self._y[:, rows]


def _paint(planes: np.ndarray, coverage: np.ndarray, colour: tuple[int, int, int]) -> None:
    for plane, value in zip(planes, colour, strict=True):
        plane += coverage * (np.float32(value) - plane)


def _ellipse(x: np.ndarray, y: np.ndarray, radius_x, radius_y) -> np.ndarray:
    """Coverage of an ellipse around the origin; radii may be arrays (T, 1, 1).

    The distance is the first-order one, value of the implicit equation over its gradient, so thin ellipses stay sharp.
    """
    value = np.sqrt((x / radius_x) ** 2 + (y / radius_y) ** 2)
    gradient = np.sqrt((x / radius_x**2) ** 2 + (y / radius_y**2) ** 2)
    return np.clip(0.5 - value * (value - 1.0) / np.maximum(gradient, 1e-6), 0.0, 1.0)


def _stroke(x: np.ndarray, y: np.ndarray, start: tuple, end: tuple, thickness: float) -> np.ndarray:
    """Coverage of a straight line with round ends; the points are (x, y), each a number or an array (T, 1, 1)."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    position = ((x - start[0]) * along_x + (y - start[1]) * along_y) / (along_x**2 + along_y**2)
    position = np.clip(position, 0.0, 1.0)
    distance = np.hypot(x - start[0] - position * along_x, y - start[1] - position * along_y)
    return np.clip(thickness / 2 + 0.5 - distance, 0.0, 1.0)


def _draw_face(look: Look, expression: Expression, motion: np.ndarray) -> np.ndarray:
    canvas = _Canvas(look.background, motion)
    _draw_head(canvas, look)
    _draw_eyes(canvas, expression)
    _draw_brows(canvas, look, expression)
    _draw_nose(canvas, look, expression)
    _draw_mouth(canvas, expression)
    return np.ascontiguousarray(np.rint(canvas.planes).astype(np.uint8).transpose(1, 2, 3, 0))


def _draw_head(canvas: _Canvas, look: Look) -> None:
    planes, x, y = canvas.window(0, FRAME_SIZE)
    _paint(planes, _ellipse(x, y + 5.0, 26.0, 27.0), look.hair)
    _paint(planes, _ellipse(x, y - 3.0, 22.0, 27.5), look.skin)


def _draw_eyes(canvas: _Canvas, expression: Expression) -> None:
    planes, x, y = canvas.window(16, 40)
    height = np.maximum(4.2 * expression.eye_open, 0.2)
    for side in (-1.0, 1.0):
        eye_x, eye_y = x - side * 9.5, y + 4.0
        inside = _ellipse(eye_x, eye_y, 5.6, height)
        _paint(planes, _ellipse(eye_x, eye_y, 6.4, height + 0.9), DARK)
        _paint(planes, inside, WHITE)
        _paint(planes, inside * _ellipse(eye_x, eye_y - expression.gaze, 2.4, 2.4), DARK)


def _draw_brows(canvas: _Canvas, look: Look, expression: Expression) -> None:
    planes, x, y = canvas.window(2, 36)
    middle = -11.0 - expression.brow_height
    for side in (-1.0, 1.0):
        inner = (side * 4.5, middle - expression.brow_slope / 2)
        outer = (side * 15.0, middle + expression.brow_slope / 2)
        _paint(planes, _stroke(x, y, inner, outer, 2.6), tuple(value // 2 for value in look.hair))


def _draw_nose(canvas: _Canvas, look: Look, expression: Expression) -> None:
    planes, x, y = canvas.window(26, 46)
    shade = tuple(int(value * 0.72) for value in look.skin)
    _paint(planes, _stroke(x, y, (-2.5, 5.5), (2.5, 5.5), 1.4), shade)
    for side in (-1.0, 1.0):
        line = _stroke(x, y, (side * 3.5, 4.0), (side * 6.5, 9.0), 1.8)
        _paint(planes, line * expression.wrinkle, tuple(int(value * 0.45) for value in look.skin))


def _draw_mouth(canvas: _Canvas, expression: Expression) -> None:
    planes, x, y = canvas.window(36, FRAME_SIZE)
    place = np.clip(x / expression.mouth_width, -1.0, 1.0)
    middle = 16.0 - expression.mouth_curve * (place**2 - 0.4) - expression.mouth_skew / 2 * place
    half_opening = expression.mouth_open / 2 * np.sqrt(1.0 - place**2)
    offset = y - middle
    within = np.clip(expression.mouth_width + 0.5 - np.abs(x), 0.0, 1.0)
    _paint(planes, within * np.clip(half_opening + 1.9 - np.abs(offset), 0.0, 1.0), LIPS)
    opening = within * np.clip(half_opening - np.abs(offset), 0.0, 1.0)
    _paint(planes, opening, DARK)
    teeth = np.clip(half_opening * (2.0 * expression.teeth - 1.0) - offset, 0.0, 1.0)  # from above downwards
    _paint(planes, opening * teeth * (expression.teeth > 0.1), WHITE)
