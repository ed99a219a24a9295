"""Studies of agents among people whose values move."""
