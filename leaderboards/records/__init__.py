"""Records of runs, submissions that hold them, and the fingerprints of environments."""

__all__ = ()
