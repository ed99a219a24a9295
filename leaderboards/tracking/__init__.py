"""Logging to wandb, reading what others logged, and offline runs."""

__all__ = ()
