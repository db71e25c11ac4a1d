"""Train a network by hand and by PyTorch, side by side, and compare every number; see `--help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lockstep.cli.compare import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
