"""Gradient descent on the lecture's curve, by hand and by PyTorch: `--help` says how."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lockstep.cli.descend import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
