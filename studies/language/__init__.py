"""Studies of language, small enough to be solved exactly."""
