"""Run the command line: `python -m valuegym.leaderboards`, and the command `valuegym`."""

import sys

from valuegym.leaderboards.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
