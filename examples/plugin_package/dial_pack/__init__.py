"""A dial to turn: an agent, an environment and a track for valuegym."""
