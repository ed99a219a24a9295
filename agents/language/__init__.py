"""Learners of policies over tokens from answered pairs of stretches, each in one file, in torch."""
