"""Studies of valuegym: each writes a page of docs/results from records in docs/results/data."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported: studies run in processes instead
