"""A window that shows pictures and hears keys; it needs pygame (extra `play`)."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import extras

__all__ = ["Key", "Window"]


class Key(NamedTuple):
    """A key that was pressed: its name in pygame's words, such as "left" or "a", and whether shift was down."""

    name: str
    shift: bool


class Window:
    """A window of the size of the first picture, opened by it; pictures of another size are scaled to fit.

    Args:
        title: what the window is called.

    Raises:
        ImportError: pygame is not installed.
    """

    def __init__(self, title: str) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # so that commands print their own output only
        try:
            import pygame
        except ImportError as error:
            raise ImportError(f"A window needs pygame: {extras.hint('play')} ({error}).") from error
        self._pygame: Any = pygame
        self.title, self.closed = title, False
        self._screen: Any = None

    def show(self, picture: npt.NDArray[np.uint8], fps: float = 0.0) -> None:
        """Show a picture (height, width, 3), and wait until 1 / fps seconds have passed since the last one."""
        pygame = self._pygame
        if self._screen is None:
            pygame.display.init()
            self._screen = pygame.display.set_mode((picture.shape[1], picture.shape[0]))
            pygame.display.set_caption(self.title)
            self._clock = pygame.time.Clock()
        surface = pygame.surfarray.make_surface(np.swapaxes(picture, 0, 1))
        if surface.get_size() != self._screen.get_size():
            surface = pygame.transform.smoothscale(surface, self._screen.get_size())
        self._screen.blit(surface, (0, 0))
        pygame.display.flip()
        pygame.event.pump()
        if fps > 0:
            self._clock.tick(fps)

    def keys(self) -> list[Key]:
        """Return the keys pressed since the last call; `closed` says afterwards whether the window was closed."""
        pressed, pygame = [], self._pygame
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.closed = True
            elif event.type == pygame.KEYDOWN:
                pressed.append(Key(pygame.key.name(event.key), bool(event.mod & pygame.KMOD_SHIFT)))
        return pressed

    def held(self) -> set[str]:
        """Return the names of the arrow and shift keys that are down now."""
        pygame, down = self._pygame, self._pygame.key.get_pressed()
        watched = {"left": pygame.K_LEFT, "right": pygame.K_RIGHT, "up": pygame.K_UP, "down": pygame.K_DOWN}
        watched |= {"left shift": pygame.K_LSHIFT, "right shift": pygame.K_RSHIFT}
        return {name for name, code in watched.items() if down[code]}

    def close(self) -> None:
        """Close the window; another picture opens it again."""
        if self._screen is not None:
            self._pygame.display.quit()
            self._screen = None
