"""Control tasks with exact or reference value functions, alone or among distractors."""
