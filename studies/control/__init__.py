"""Studies of learning models and policies for control."""
