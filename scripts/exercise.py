"""Derive back-propagation yourself, each formula checked against PyTorch; see `--help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lockstep.cli.exercise import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
