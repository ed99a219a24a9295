"""Preferences for any Gymnasium environment: segments, annotators, queries, wrappers and a file format."""
