"""Preference family: environments in which reward is learnt from preferences."""
