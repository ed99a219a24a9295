"""Control tasks whose value functions are known: what a model must get right, and what it may ignore."""
