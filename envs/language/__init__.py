"""Language, small enough to be solved exactly, and what the answers of language models say about values."""
