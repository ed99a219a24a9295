"""Pictures: a rasteriser, a font and colours of our own, and one module for each family of environments.

No plotting library is needed, and observations that are images are the same bytes everywhere.
"""
