"""How long a step takes by hand, by PyTorch, and verified: `python scripts/benchmark.py --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmarks.command import main  # noqa: E402

sys.exit(main())
