"""The static site: pages filled into templates, the elements they share, and plots."""

try:
    import jinja2 as _jinja2  # noqa: F401
except ImportError as error:
    raise ImportError('The site needs jinja2 for its pages: pip install "valuegym[site]".') from error

__all__ = ()
