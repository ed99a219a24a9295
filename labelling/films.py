"""Pictures of segments: a film that loops, an animated PNG, and a still for those who want no motion.

A film holds each picture for `frame_ms` milliseconds and the last one three times as long, so that one sees where it
begins again. The still is the last picture where that shows the whole way, and else four pictures of the film.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.array_files import optional_module
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.preference import delivery
from valuegym.envs.rendering import delivery as rendering

__all__ = ["DELIVERY", "Draw", "Film", "draw_segment", "is_whole", "make_film", "png"]

DELIVERY = "valuegym/Delivery-v0"
LARGEST = 720  # pixels along a side of a film
Pixels = npt.NDArray[np.uint8]
Draw = Callable[[Segments], Sequence[Pixels]]


class Film(NamedTuple):
    """A film: its id, the animated PNG, the still, and the number of steps."""

    id: str
    film: bytes
    still: bytes
    steps: int


def _images(frames: Sequence[Any]) -> list[Any]:
    pil = optional_module("PIL.Image", "label", "to draw films")
    shape = np.shape(frames[0]) if len(frames) else ()
    images = []
    for frame in frames:
        pixels = np.asarray(frame)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape != shape:
            raise ValueError(
                f"A picture has shape {pixels.shape} and type {pixels.dtype}; expected uint8 (height, width, 3), all "
                "of one size."
            )
        image = pil.fromarray(pixels)
        if max(image.size) > LARGEST:
            image.thumbnail((LARGEST, LARGEST))
        images.append(image)
    if not images:
        raise ValueError("A film has no picture; expected one for each step and one more.")
    return images


def _encoded(image: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", **options)
    return content.getvalue()


def png(frame: Pixels) -> bytes:
    """Return a picture (height, width, 3) as a PNG.

    Raises:
        ModuleNotFoundError: Pillow is not installed.
        ValueError: it is no picture.
    """
    return _encoded(_images([frame])[0])


def make_film(frames: Sequence[Pixels], frame_ms: int = 500, whole: bool = False) -> Film:
    """Return a film of pictures (height, width, 3) of one size.

    Args:
        frames: one for each step, and one of the end.
        frame_ms: milliseconds of a picture.
        whole: whether the last picture shows the whole way, and so is the still.

    Raises:
        ModuleNotFoundError: Pillow is not installed.
        ValueError: there is no picture, they differ in size, or an entry is no picture.
    """
    images = _images(frames)
    durations = [frame_ms] * (len(images) - 1) + [3 * frame_ms]
    if len(images) == 1:
        film = _encoded(images[0])
    else:
        film = _encoded(images[0], save_all=True, append_images=images[1:], duration=durations, loop=0)
    still = _encoded(images[-1] if whole or len(images) < 4 else _grid(images))
    return Film(hashlib.sha256(film).hexdigest()[:32], film, still, len(images) - 1)


def _grid(images: Sequence[Any]) -> Any:
    """Return four pictures of a film, evenly spaced, as one of the same size."""
    width, height = images[0].size
    sheet = images[0].copy()
    for i, number in enumerate(np.linspace(0, len(images) - 1, 4).round().astype(int).tolist()):
        part = images[number].resize((width // 2, height // 2))
        sheet.paste(part, (i % 2 * (width // 2), i // 2 * (height // 2)))
    return sheet


def draw_segment(segment: Segments, environment: str | None = None) -> list[Pixels]:
    """Return the pictures of a segment (N = 1) that holds them, or whose observations can be drawn.

    Pictures are observations, or an entry of a dictionary of observations, of shape (height, width, 3) and type uint8,
    as `gymnasium.wrappers.AddRenderObservation` makes them. Cells of the delivery task are drawn by its renderer.

    Raises:
        ValueError: there are no pictures, and nothing is known that draws such observations.
    """
    steps = int(segment.lengths[0])
    seen = segment.observations if isinstance(segment.observations, dict) else {"": segment.observations}
    for value in seen.values():
        if value.ndim == 5 and value.shape[-1] == 3 and value.dtype == np.uint8:
            return list(value[0, : steps + 1])
    cells = seen.get("")
    if environment == DELIVERY and cells is not None and cells.ndim == 2 and cells.dtype.kind in "iu":
        board = np.array(delivery.BOARD)
        path = [divmod(int(cell), board.shape[1]) for cell in cells[0, : steps + 1]]
        moves = segment.actions[0, :steps].tolist()
        return [rendering.rgb(board, path[t], path[: t + 1], moves[:t]) for t in range(steps + 1)]
    raise checks.refusal(
        "environment",
        environment,
        "one whose observations hold pictures, uint8 of shape (height, width, 3), or draw=, a function of a segment "
        "that returns its pictures; gymnasium.wrappers.AddRenderObservation(env, render_only=False) adds them",
    )


def is_whole(environment: str | None) -> bool:
    """Tell whether the last picture of a segment shows the whole way."""
    return environment == DELIVERY
