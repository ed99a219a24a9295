"""The static site: pages, their elements and plots."""
