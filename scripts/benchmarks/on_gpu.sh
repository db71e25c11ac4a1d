#!/usr/bin/env bash
# Runs what needs a GPU: PyTorch's own attention, normalisation and cross-entropy, and the Triton examples compiled.
# In a clone, on a machine that has one: scripts/benchmarks/on_gpu.sh [PYTHON]. It takes less than five minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python}

"$python" - <<'PYTHON'
import sys

import torch

if not torch.cuda.is_available():
    sys.exit("on_gpu.sh: there is no GPU here, or PyTorch was built without CUDA")
print(torch.cuda.get_device_name(), "PyTorch", torch.__version__)
PYTHON
time timeout 290 "$python" -m pytest tests/lockstep/gradients/test_gpu.py --durations=0 -s
