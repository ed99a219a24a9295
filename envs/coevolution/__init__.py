"""Environments in which human values move while an AI learns them."""
