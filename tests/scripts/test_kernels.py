"""The example kernels under Triton's interpreter: right as they are, and with planted mistakes."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / "scripts/examples/kernels"
STALE = "KEPT = globals().setdefault('BUFFER', [0]); KEPT[-1] = KEPT[-1] + dq.sum(dim=0)"
# what stands there, what in its place, the mistake, the tensor where it is seen first
MISTAKES = {
    "rms_norm": [
        ("DY + row * n + at", "DY + at", "one-sample-only", "x"),
        (" - x_hat * tl.sum(g * x_hat, 0) / n", "", "term-missing", "x"),
        ("DX + row * n + at, dx", "DX + row * n + at, 0 * dx", "gradient-missing", "x"),
        ("dw.sum(dim=0)", "dw[-4:].sum(dim=0)", "partial-sum", "w"),
        ("tl.store(DX +", "tl.store(X +", "input-changed", "x"),
        ("dy * x_hat, mask", "dy * x, mask", "factor-missing", "w"),
    ],
    "cross_entropy": [
        ("DLOSS + row", "DLOSS", "one-sample-only", "z"),
        ("dloss * g", "g", "incoming-gradient-ignored", "z"),
        ("p - tl.where(at == t, 1.0, 0.0)", "p", "term-missing", "z"),
        ("at == t, 1.0", "at == t + 1, 1.0", "wrong-index", "z"),
        ("dloss * g", "0 * g", "gradient-missing", "z"),
        ("z.clone(memory_format=torch.contiguous_format)", "z", "input-changed", "z"),
    ],
    "attention": [
        ("(j <= i[:, None]) & (j < n)", "j < n", "mask", "output"),
        ("(dp - tl.sum(do * o, 1)[:, None])", "dp", "term-missing", "q"),
        ("dq.sum(dim=0)", "dq[-1]", "unknown", "q"),
        ("ds = scale * p", "ds = p", "scaled-by-constant", "q"),
        ("D + c, dv, mask", "D + c, 0 * dv, mask", "gradient-missing", "v"),
        ("return dq.sum(dim=0)", f"{STALE}\n        return KEPT[-1]", "gradients-accumulated", "q"),
    ],
}
RUN = """
import importlib.util, json, sys, torch
from lockstep import GradientMismatch, check_function

path, changes = sys.argv[1], json.load(sys.stdin)
text = open(path).read()
for number, (old, new) in enumerate(changes):
    assert old in text, old
    own = f"{sys.argv[2]}/kernel{number}.py"
    open(own, "w").write(text.replace(old, new))
    it = importlib.util.spec_from_file_location(f"kernel{number}", own)
    kernel = importlib.util.module_from_spec(it)
    it.loader.exec_module(kernel)
    torch.manual_seed(0)
    function = next(f for f in vars(kernel).values() if isinstance(f, type) and hasattr(f, "apply"))
    inputs = {
        "RMSNorm": lambda: dict(x=torch.randn(9, 20), w=torch.rand(20) + 0.5),
        "CrossEntropy": lambda: dict(z=2 * torch.randn(9, 20), t=torch.randint(0, 19, (9,))),
        "Attention": lambda: dict(zip("qkv", torch.randn(3, 20, 16))),
    }[function.__name__]()
    inputs = {n: it.bfloat16() if it.is_floating_point() else it for n, it in inputs.items()}
    try:
        found = check_function(function, kernel.reference, **inputs)
        print(json.dumps([found.verdict, [*found.precisions], str(found)]), flush=True)
    except GradientMismatch as error:
        it = error.diagnoses[0]
        print(json.dumps([it["mistake"], it["quantity"], str(error)]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton, a tool for developing, is missing"
)
@pytest.mark.parametrize("kernel", MISTAKES)
def test_a_kernel_is_right_and_its_planted_mistakes_are_found_and_named(kernel, tmp_path):
    own = {name: it for name, it in os.environ.items() if not name.startswith("COV")}  # slow there
    changes = [("", ""), *((old, new) for old, new, *_ in MISTAKES[kernel])]
    said = subprocess.run(
        [sys.executable, "-c", RUN, str(KERNELS / f"{kernel}.py"), str(tmp_path)],
        input=json.dumps(changes),
        env=own | {"TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    right, *found = map(json.loads, said.splitlines())
    assert right[:2] == ["match", ["float64", "float32", "float16", "bfloat16"]], right
    assert "view" not in right[2]  # whatever strides its inputs have
    for (*_, mistake, where), of in zip(MISTAKES[kernel], found, strict=True):
        assert of[:2] == [mistake, where], of
