"""The command line: one file for each group of commands, the arguments beside the command."""

__all__ = ()
