"""The static site: pages filled into templates, the elements they share, and plots."""

from valuegym.envs import extras as _extras

try:
    import jinja2 as _jinja2  # noqa: F401
except ImportError as error:
    raise ImportError(f"The site needs jinja2 for its pages: {_extras.hint('site')}.") from error

__all__ = ()
