"""Studies of learning from preferences."""
