"""Agents among people whose values move."""
