"""`lockstep check`: gradients from a file, in three formats; every message and exit status."""

import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lockstep.__main__ import main
from lockstep.cli import check

ROOT = Path(__file__).parents[3]
REFERENCE = """
import numpy as np
import torch

random = np.random.default_rng(3)
inputs = {
    "x": random.normal(size=(5, 3)),
    "params": {"W": random.normal(size=(3, 4)), "b": random.normal(size=4)},
    "labels": np.array([0, 1, 2, 3, 1]),
}


def reference(x, params, labels):
    print("not for standard output")
    return torch.nn.functional.cross_entropy(torch.tanh(x @ params["W"] + params["b"]), labels)
"""
THREE = "import numpy as np\nimport torch\ninputs = {'x': np.array([0.5, -1.25, 2.0])}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sys.path[:], set(sys.modules)
    yield tmp_path
    sys.path[:] = before[0]
    for name in set(sys.modules) - before[1]:
        if name.lstrip("_") == "ref":
            del sys.modules[name]


def right():
    """The gradients of REFERENCE, in the structure of its inputs."""
    names = {}
    exec(REFERENCE.replace("print", "str"), names)
    x, params = names["inputs"]["x"], names["inputs"]["params"]
    x, W, b = (torch.tensor(a, requires_grad=True) for a in (x, params["W"], params["b"]))
    labels = torch.tensor(names["inputs"]["labels"])
    names["reference"](x, {"W": W, "b": b}, labels).backward()
    return {"x": x.grad.numpy(), "params": {"W": W.grad.numpy(), "b": b.grad.numpy()}}


def nested(change, tree):
    """The tree with each array as nested lists of its changed numbers."""
    if isinstance(tree, dict):
        return {name: nested(change, part) for name, part in tree.items()}
    if np.ndim(tree):
        return [nested(change, row) for row in tree]
    return change(float(tree))


def ran(capsys, gradients, *options, reference=REFERENCE, file="g.json"):
    """Exit status, standard output and standard error."""
    Path("ref.py").write_text(reference)
    if isinstance(gradients, bytes):
        Path(file).write_bytes(gradients)
    else:
        Path(file).write_text(gradients if isinstance(gradients, str) else json.dumps(gradients))
    try:
        status = main(["check", "ref.py", "--gradients", file, *options])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def document(capsys, *arguments, **settings):
    status, out, _ = ran(capsys, *arguments, "--json", "-", **settings)
    return status, json.loads(out)


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


# Right gradients


def test_right_gradients_match_and_what_the_reference_prints_is_no_output(capsys):
    status, out, err = ran(capsys, nested(float, right()))
    assert status == 0
    assert out.startswith("match: 31 values of 3 gradients.")
    assert "  params['W']: right" in out
    assert set(err.split("\n")) == {"not for standard output", ""}


def test_every_format_says_the_same(capsys):
    it = right()
    names = {"x": it["x"], "params['W']": it["params"]["W"], "params['b']": it["params"]["b"]}
    lines = "\n\n".join(json.dumps({name: array.tolist()}) for name, array in names.items())
    expected = ran(capsys, nested(float, it))[:2]
    assert ran(capsys, lines, file="g.jsonl")[:2] == expected
    assert ran(capsys, archive(**names), file="g.npz")[:2] == expected
    assert ran(capsys, archive(**names), file="G.NPZ")[:2] == expected


def test_inputs_may_be_a_function_and_python_numbers(capsys):
    source = "def inputs(): return {'a': 2.5}\ndef reference(a): return a * a * a\n"
    assert ran(capsys, {"a": 18.75}, reference=source)[0] == 0
    assert ran(capsys, {"a": 18.5}, reference=source)[0] == 1


def test_an_input_may_be_a_list_of_arrays(capsys):
    source = (
        "import numpy as np\ninputs = {'l': [np.ones(2), np.ones((1, 3))]}\n"
        "def reference(l): return (l[0] ** 2).sum() + (l[1] ** 3).sum()\n"
    )
    assert ran(capsys, {"l": [[2, 2], [[3, 3, 3]]]}, reference=source)[0] == 0
    assert ran(capsys, {"l[1]": [[3, 3, 3]]}, reference=source)[0] == 0


def test_what_is_watched_has_a_gradient_too(capsys):
    source = THREE + (
        "from lockstep import watch\ndef reference(x): return torch.exp(watch('s', x * x)).sum()\n"
    )
    s = np.array([0.5, -1.25, 2.0]) ** 2
    assert ran(capsys, {"s": np.exp(s).tolist()}, reference=source)[0] == 0
    status, out, _ = ran(capsys, {"s": (-np.exp(s)).tolist()}, reference=source)
    assert (status, "sign-flipped" in out) == (1, True)


def test_a_target_that_pytorch_cannot_differentiate_is_a_constant(capsys):
    source = THREE + (
        "inputs['t'] = np.full(3, 0.5)\n"
        "class Once(torch.autograd.Function):\n"
        "    @staticmethod\n"
        "    def forward(context, t): return t.clone()\n"
        "    @staticmethod\n"
        "    def backward(context, g): raise RuntimeError('not for targets')\n"
        "def reference(x, t): return (x * Once.apply(t)).sum()\n"
    )
    assert ran(capsys, {"x": [0.5, 0.5, 0.5]}, reference=source)[0] == 0
    status, _, err = ran(capsys, {"t": [0.5, -1.25, 2.0]}, reference=source)
    assert (status, "not for targets" in err) == (2, True)


def test_complex_gradients_come_from_an_archive(capsys):
    source = (
        "import numpy as np\ninputs = {'z': np.array([1 + 2j, 0.5 - 1j])}\n"
        "def reference(z): return (z.abs() ** 2).sum()\n"
    )
    z = np.array([2 + 4j, 1 - 2j])
    status, it = document(capsys, archive(z=z), reference=source, file="g.npz")
    assert (status, it["quantities"]["manual"]["z"]) == (0, [[2, 4], [1, -2]])
    assert ran(capsys, archive(z=z.conj()), reference=source, file="g.npz")[0] == 1


# Wrong gradients


def test_a_wrong_gradient_is_named(capsys):
    it = right()
    it["params"]["W"] = -it["params"]["W"]
    status, out, _ = ran(capsys, nested(float, it))
    assert status == 1
    assert out.startswith(
        "params['W']: mismatch, 12 of 12 elements differ, first params['W'][0, 0]"
    )
    assert "  mistake   sign-flipped: " in out
    assert "  right     x, params['b']\n" in out
    status, out, _ = ran(capsys, nested(float, it), "--quiet")
    assert (status, out.count("\n")) == (1, 1)


def test_a_flat_list_has_another_shape(capsys):
    status, it = document(capsys, {"x": right()["x"].ravel().tolist()})
    assert (status, it["verdict"]) == (1, "mismatch")
    assert it["first_mismatch"]["index"] is None
    assert it["diagnoses"][0]["mistake"] == "wrong-shape"


def test_nan_and_inf_in_quotes_are_numbers(capsys):
    source = THREE + "def reference(x): return torch.exp(400 * x).sum()\n"
    numbers = [float(v) for v in 400 * np.exp([200.0, -500.0])]
    numbers.append("inf")
    status, it = document(capsys, {"x": numbers}, reference=source)
    assert (status, it["verdict"]) == (3, "undecided")
    assert it["remarks"][0] == "the gradient of x is not finite on both sides"
    assert it["quantities"]["torch"]["x"][2] == "inf"
    assert ran(capsys, {"x": [*numbers[:2], "nan"]}, reference=source)[0] == 2
    assert ran(capsys, {"x": ["nan", *numbers[1:]]}, reference=source)[0] == 1


@pytest.mark.slow
def test_a_tolerance_replaces_the_bound(capsys):
    it = nested(lambda number: number * (1 + 1e-6), right())
    assert ran(capsys, it)[0] == 1
    assert ran(capsys, it, "--rtol", "1e-5")[0] == 0
    assert ran(capsys, it, "--rtol", "1e-7")[0] == 1
    assert ran(capsys, it, "--atol", "1e-5", "--seed", "4", "--time-limit", "3")[0] == 0


# Numbers printed with too few digits

FORMATS = {
    "%f": ("%f", "6 printed decimals"),
    "%.3f": ("%.3f", "3 printed decimals"),
    "%g": ("%g", "6 printed significant digits"),
    "%.9e": ("%.9e", "10 printed significant digits"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("form", "words"), FORMATS.values(), ids=FORMATS)
def test_too_few_digits_are_named_with_how_many_were_right(capsys, form, words):
    it = right()
    status, found = document(capsys, nested(lambda number: float(form % number), it))
    likely = found["diagnoses"][0]
    assert (status, likely["mistake"]) == (1, "too-few-digits")
    assert likely["explains"] == ["x", "params['W']", "params['b']"]
    assert words in likely["says"]
    off = np.abs([float(form % v) - v for v in it["x"].flat]).max() / np.abs(it["x"]).max()
    assert f"x is right to {int(-np.log10(off))} digits" in likely["says"]
    assert "print 17 significant digits" in likely["remedy"]
    first = found["first_mismatch"]
    assert (first["manual"], first["torch"]) == (float(form % it["x"][0, 0]), it["x"][0, 0])


def test_float32_needs_nine_digits(capsys):
    source = REFERENCE + (
        "def single(a): return a.astype(np.float32)\n"
        "inputs['x'] = single(inputs['x'])\n"
        "inputs['params'] = {name: single(a) for name, a in inputs['params'].items()}\n"
    )
    status, out, _ = ran(capsys, nested(lambda v: float(f"{v:.4f}"), right()), reference=source)
    assert (status, "print 9 significant digits" in out) == (1, True)
    assert ran(capsys, nested(lambda v: float(f"{v:.9g}"), right()), reference=source)[0] == 0


def test_printed_numbers_in_quotes_match_to_half_a_unit(capsys):
    it = nested(lambda number: f"{number:.6g}", right())
    status, out, _ = ran(capsys, it)
    assert status == 0
    assert "x, params['W'], params['b']: numbers in quotes are judged to half a unit" in out
    assert "to the last bit" not in out
    it["x"][2][1] = f"{1.0001 * float(it['x'][2][1]):.6g}"
    status, out, _ = ran(capsys, it)
    assert (status, out.splitlines()[0]) == (
        1,
        "x: mismatch, 1 of 15 elements differ, first x[2, 1]",
    )


def test_numbers_in_quotes_are_right_beside_others_with_too_few_digits(capsys):
    it = {"x": nested(lambda v: f"{v:.6f}", right()["x"])}
    it["params"] = nested(lambda v: float(f"{v:.6f}"), right()["params"])
    status, found = document(capsys, it)
    likely = found["diagnoses"][0]
    assert (status, likely["mistake"]) == (1, "too-few-digits")
    assert likely["explains"] == ["params['W']", "params['b']"]
    it["params"] = nested(float, right()["params"])
    assert ran(capsys, it)[0] == 0


def test_another_mistake_is_named_in_numbers_that_are_printed(capsys):
    it = right()
    it["x"] = -it["x"]
    for numbers in (nested(lambda v: float(f"{v:.6f}"), it), nested(lambda v: f"{v:.6f}", it)):
        status, out, _ = ran(capsys, numbers)
        assert status == 1
        assert "mistake   sign-flipped: the gradient of x is minus the right one" in out
        assert "the numbers have 6 printed decimals, which the tolerance allows for" in out


def test_a_wrong_gradient_beside_printed_ones_is_named(capsys):
    it = nested(float, right())
    it["x"] = nested(lambda v: float(f"{v:.6f}"), right()["x"])
    it["params"]["b"] = [3 * v for v in it["params"]["b"]]
    status, found = document(capsys, it)
    assert (status, found["diagnoses"][0]["quantity"]) == (1, "params['b']")


def test_printed_numbers_of_single_precision_are_named(capsys):
    it = nested(lambda v: float(f"{np.float32(v):.9g}"), right())
    status, found = document(capsys, it)
    assert status == 1
    assert {one["mistake"] for one in found["diagnoses"]} == {"single-precision"}


def test_few_digits_tell_only_where_there_are_many_numbers(capsys):
    for size, named in ((2, False), (12, True)):
        source = (
            f"import numpy as np\nimport torch\ninputs = {{'x': np.linspace(0.1, 1.2, {size})}}\n"
            "def reference(x): return 4e-6 * torch.sin(x).sum()\n"
        )
        numbers = [float(f"{v:.6f}") for v in 4e-6 * np.cos(np.linspace(0.1, 1.2, size))]
        status, found = document(capsys, {"x": numbers}, reference=source)
        assert (status, found["diagnoses"][0]["mistake"] == "too-few-digits") == (1, named)


def test_numbers_that_are_short_by_themselves_are_not_called_printed(capsys):
    source = THREE + "def reference(x): return torch.sin(x).sum()\n"
    for wrong in ([0.5, -1.25, 2.0], [1, 0, 0], [0.9, 0.3, -0.5]):
        status, found = document(capsys, {"x": wrong}, reference=source)
        assert (status, found["diagnoses"][0]["mistake"] != "too-few-digits") == (1, True)
    source = THREE + "def reference(x): return (x * x).sum()\n"
    status, found = document(capsys, {"x": [0.9999, -2.5, 4.0]}, reference=source)
    assert (status, found["diagnoses"][0]["mistake"] != "too-few-digits") == (1, True)


SQUARES = THREE + "def reference(x): return (x * x).sum()\n"  # the gradient is 1, -2.5, 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("numbers", "first", "mistake"),
    [
        (["1.0", "-2.5", "3.7"], 3.7, "unknown"),
        (["1.0", "-2.5", "4.1"], 4.1, None),
        (["1.00", "-2.5", "4.006"], 4.006, None),
        (["2.0", "-5.0", "8.0"], 2.0, "scaled-by-constant"),
        (["-1.0", "2.5", "-4.0"], -1.0, "sign-flipped"),
        (["-1", "2.5", "-4"], -1.0, "sign-flipped"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--rtol", "1e-5")])
def test_wrong_numbers_in_quotes_are_reported_as_they_stand(
    capsys, numbers, first, mistake, options
):
    status, out, _ = ran(capsys, {"x": numbers}, *options, reference=SQUARES)
    assert (status, f"yours     {first!r}\n" in out) == (1, True)
    status, found = document(capsys, {"x": numbers}, *options, reference=SQUARES)
    assert found["first_mismatch"]["manual"] == first
    assert mistake in (None, found["diagnoses"][0]["mistake"])


@pytest.mark.parametrize("numbers", [["1.0", "-2.5", "4.0"], ["1", "-2", "4.0"], ["1", "-3", "4"]])
def test_numbers_in_quotes_are_right_to_half_a_unit_whatever_else_is(capsys, numbers):
    assert ran(capsys, {"x": numbers}, reference=SQUARES)[0] == 0


@pytest.mark.parametrize("form", ["%.6f", "%.9f"])
def test_where_all_numbers_in_quotes_are_wrong_the_tolerance_is_not_called_yours(capsys, form):
    for by, mistake in ((-1, "sign-flipped"), (1.5, "scaled-by-constant")):
        status, out, _ = ran(capsys, nested(lambda v: form % (by * v), right()))  # noqa: B023
        assert (status, "your tolerance" in out) == (1, False)
        assert "; the rounding of printed numbers allows " in out
        assert f"mistake   {mistake}: " in out


def test_two_numbers_of_a_digit_each_were_printed_too(capsys):
    source = THREE.replace(", 2.0", "") + "def reference(x): return torch.sin(x).sum()\n"
    status, found = document(capsys, {"x": [0.9, 0.3]}, reference=source)
    likely = found["diagnoses"][0]
    assert (status, likely["mistake"]) == (1, "too-few-digits")
    assert likely["says"] == "x is right to 1 digit, with 1 printed decimal"
    status, found = document(capsys, {"x": [0.8, 0.3]}, reference=source)
    assert (status, found["diagnoses"][0]["mistake"] == "too-few-digits") == (1, False)


# The document


def test_the_document_goes_to_a_file_beside_the_report(capsys, folder):
    status, out, _ = ran(capsys, nested(float, right()), "--json", "a.json")
    it = json.loads((folder / "a.json").read_text())
    assert (status, out[:6], it["verdict"]) == (0, "match:", "match")
    assert (it["torch"], it["numpy"]) == (torch.__version__, np.__version__)
    assert (it["first_mismatch"], it["diagnoses"], it["cannot_see"]) == (None, [], [])
    assert it["values"] == 31
    assert set(it["accuracy"]) == {"x", "params['W']", "params['b']"}
    assert it["quantities"]["manual"] == it["quantities"]["torch"]


def test_a_document_writes_over_nothing_that_is_read(capsys, folder):
    for file in ("ref.py", "g.json"):
        status, out, err = ran(capsys, nested(float, right()), "--json", file)
        assert (status, out) == (2, "")
        assert (
            err == f"lockstep check: --json {file}: expected a file that this run does not read\n"
        )
    status, _, err = ran(capsys, nested(float, right()), "--json", "no/a.json")
    assert (status, "--json no/a.json: cannot be written" in err) == (2, True)


# What cannot be used

REFERENCES = {
    "no Python": ("def reference(x:\n", "ref.py, line 1: expected Python: '(' was never closed"),
    "no reference": (
        THREE + "def loss(x): pass\n",
        "ref.py: has no function 'reference'. Its functions are: loss. "
        "Expected `def reference(...)`",
    ),
    "no inputs": (
        "def reference(x): pass\n",
        'ref.py: has no `inputs`. Expected a dict of arrays by name, such as `inputs = {"x": '
        "np.ones(3)}`, or a function that returns one",
    ),
    "inputs of another kind": ("inputs = 3\ndef reference(x): pass\n", "ref.py: `inputs` is 3. Ex"),
    "no input": ("inputs = {}\ndef reference(x): pass\n", "ref.py: `inputs` is {}. Expected a"),
    "inputs by numbers": ("inputs = {1: 2.0}\ndef reference(x): pass\n", "ref.py: `inputs` is {1:"),
    "inputs that raise": (
        "def inputs():\n    return 1 / 0\ndef reference(x): pass\n",
        "ref.py, line 2: ZeroDivisionError: division by zero",
    ),
    "integers": (
        "inputs = {'x': 3, 'y': 'a'}\ndef reference(x, y): pass\n",
        "ref.py: no input holds floating-point numbers",
    ),
    "a reference that raises": (
        THREE + "def reference(x):\n    return x.sum() + len(3)\n",
        "ref.py: reference raised TypeError: object of type 'int' has no len() (line 5 of ref.py)",
    ),
    "no scalar": (THREE + "def reference(x): return x\n", "ref.py: reference gives a tensor of sh"),
    "other arguments": (THREE + "def reference(y): pass\n", "ref.py: reference raised TypeError: "),
    "not finite": (
        THREE + "inputs['x'][0] = np.nan\ndef reference(x): return x.sum()\n",
        "ref.py: input 'x' has a value that is not finite; expected finite numbers",
    ),
    "no effect": (
        THREE + "inputs['z'] = np.ones(2)\ndef reference(x, z): return z.sum()\n",
        "g.json: gives a gradient for 'x', which reference does not depend on",
    ),
    "another value at each call": (
        THREE + "import random\ndef reference(x): return x.sum() * random.random()\n",
        "ref.py: reference gives different gradients when it is called again",
    ),
    "an exit at once": ("import sys\nsys.exit(0)\n", "ref.py, line 2: SystemExit: 0"),
    "an exit": (
        THREE + "import sys\ndef reference(x):\n    sys.exit(0)\n",
        "ref.py, line 6: SystemExit: 0",
    ),
    "an end of another kind at once": (
        "class End(BaseException): pass\nraise End('now')\n",
        "ref.py, line 2: End: now",
    ),
    "an end of another kind": (
        THREE + "import pytest\ndef reference(x):\n    pytest.fail('now')\n",
        "ref.py, line 6: Failed: now",
    ),
    "an end of another kind in the inputs": (
        "import pytest\ndef inputs():\n    pytest.skip('now')\ndef reference(x): pass\n",
        "ref.py, line 3: Skipped: now",
    ),
    "an async reference": (
        THREE + "async def reference(x): return x.sum()\n",
        "ref.py: reference is an async function; expected one without async",
    ),
    "a message that raises": (
        THREE + "class Bad(Exception):\n    def __str__(self): raise KeyError\n"
        "def reference(x):\n    raise Bad\n",
        "ref.py: reference raised Bad: (its message cannot be shown) (line 7 of ref.py)",
    ),
    "a message that raises at once": (
        "class Bad(ValueError):\n    def __str__(self): return 3\nraise Bad\n",
        "ref.py, line 3: Bad: (its message cannot be shown)",
    ),
    "a hard exit at once": ("import os\nos._exit(0)\n", "ref.py, line 2: SystemExit: os._exit(0)"),
    "a hard exit": (
        THREE + "from os import _exit\ndef reference(x):\n    _exit(0)\n",
        "ref.py, line 6: SystemExit: os._exit(0)",
    ),
}


@pytest.mark.parametrize("what", REFERENCES)
def test_a_reference_that_cannot_be_used_is_one_line_and_status_2(capsys, what):
    source, words = REFERENCES[what]
    status, out, err = ran(capsys, {"x": [1.0, 2.0, 3.0]}, "--json", "a.json", reference=source)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"lockstep check: {words}")
    assert not Path("a.json").exists()


def pair_of_members(name, text):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr(name, text)
    return file.getvalue()


def doubled(data):
    """The archive with its one member there twice."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as one, zipfile.ZipFile(file, "w") as both:
        member = one.namelist()[0]
        both.writestr(member, one.read(member))
        with pytest.warns(UserWarning, match="Duplicate name"):
            both.writestr(member, one.read(member))
    return file.getvalue()


NONE = 'gives no number; expected gradients, such as {"w": [0.5, -2.0]}'
NUMBERS = archive(x=np.arange(200.0))
KNOWN = "expected names of inputs, or of what is watched"
FILES = {
    "a name": ("g.json", '{"X": [1, 2, 3]}', f"'X': {KNOWN}; did you mean x?"),
    "a name inside": (
        "g.json",
        '{"params": {"w": 1}}',
        f"\"params['w']\": {KNOWN}; did you mean params['W']?",
    ),
    "a whole name": (
        "g.json",
        '{"params": [1, 2]}',
        "gives one gradient for 'params'; expected its parts, such as params['W']",
    ),
    "labels": (
        "g.json",
        '{"labels": [1, 0, 0, 0, 0]}',
        "gives a gradient for 'labels', which holds integers",
    ),
    "rows": ("g.json", '{"x": [[1, 2], [3]]}', "x: expected numbers, in rows of one length"),
    "words": ("g.json", '{"x": ["a"]}', "x: expected a number, got 'a'"),
    "null": ("g.json", '{"x": null}', "x: expected a number, got None"),
    "a list": ("g.json", "[[1, 2]]", 'expected an object such as {"w": [0.5, -2.0]}, got [[1, 2]]'),
    "a comma": (
        "g.json",
        '{"x": [1,\n2 3]}',
        "line 2: expected JSON; column 3: expecting ',' delimiter, at '3]}'",
    ),
    "nan": (
        "g.json",
        '{"x":\n [nan]}',
        'line 2: nan is no number of JSON; expected it in quotes: "nan"',
    ),
    "an end": ("g.json", '{"x": [1,\n2', "line 2: is cut off; expected all of JSON"),
    "twice": ("g.json", '{"x": [1], "x": [2]}', "'x' stands there twice; expected each name once"),
    "both ways": (
        "g.json",
        '{"params": {"b": 1}, "params[\'b\']": 1}',
        "\"params['b']\" stands there twice",
    ),
    "nothing": ("g.json", " \n", NONE),
    "no name": ("g.json", "{}", NONE),
    "no number": ("g.json", '{"x": []}', NONE),
    "no text": ("g.json", b"\xff\xfe", "expected JSON in UTF-8"),
    "a second line": ("g.jsonl", '{"x": [1]}\n\n{"x": [1]}\n', "line 3: 'x' stands there twice"),
    "half a line": (
        "g.jsonl",
        '{"x": [1]}\n{"x": [\n',
        "line 2: is cut off; expected a whole line of JSON",
    ),
    "a list a line": ("g.jsonl", "[1]\n", 'line 1: expected an object such as {"w": [0.5, -2.0]}'),
    "several lists": ("g.jsonl", "[1]]\n", 'line 1: expected an object a line, such as {"w": '),
    "no line": ("g.jsonl", "\n", NONE),
    "no archive": ("g.npz", "abc", "is no npz file; expected what numpy.savez writes"),
    "an empty file": ("g.npz", b"", NONE),
    "no array": ("g.npz", archive(), NONE),
    "a pickle": (
        "g.npz",
        archive(x=np.array([{}, 1], dtype=object)),
        "x cannot be read: Object arrays cannot be loaded when allow_pickle=False",
    ),
    "truth": ("g.npz", archive(x=np.array([True])), "x holds bool; expected an array of numbers"),
    "truth among numbers": (
        "g.json",
        '{"params": {"W": [[0.5, true], [1.5, 2]]}}',
        "params['W']: expected a number, got True",
    ),
    "wide digits": ("g.json", '{"x": ["\uff14.0"]}', "x: expected a number, got '\uff14.0'"),
    "text": ("g.npz", archive(x=np.array(["a"])), "x holds <U1; expected an array of numbers"),
    "a text file": (
        "g.npz",
        pair_of_members("notes", "x"),
        "notes holds no array; expected an array of numbers",
    ),
    "damage": ("g.npz", NUMBERS[:400] + b"0" * 40 + NUMBERS[440:], "x cannot be read: Bad CRC-32"),
    "a damaged list": (
        "g.npz",
        NUMBERS.replace(b"PK\x01\x02", b"PK\x09\x09"),
        "the archive cannot be read: ",
    ),
    "two arrays": ("g.npz", doubled(NUMBERS), "'x' stands there twice; expected each name once"),
}


@pytest.mark.parametrize("what", FILES)
def test_gradients_that_cannot_be_used_are_one_line_and_status_2(capsys, what):
    file, text, words = FILES[what]
    source = REFERENCE.replace("print", "str")
    status, out, err = ran(capsys, text, reference=source, file=file)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"lockstep check: {file}: {words}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--gradients", "g.txt"],
            "--gradients: expected a file name that ends with .json, .jsonl, ",
        ),
        (["--gradients", "no.npz"], "no.npz: cannot be read: No such file or directory"),
        (["--rtol", "-1"], "--rtol: expected a finite number, 0 or more, got -1.0"),
        (["--seed", "x"], "--seed: expected a whole number, got 'x'"),
        (["--device", ""], "--device: expected the name of a device, got ''"),
        (["--device", "nowhere"], "--device 'nowhere' can't be used: "),
        (["--steps", "3"], "unrecognized arguments: --steps 3"),
    ],
)
def test_options_that_cannot_be_used_are_one_line_and_status_2(capsys, options, words):
    status, out, err = ran(capsys, {"x": [1.0]}, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"lockstep check: {words}")


def test_a_missing_reference_is_one_line_and_status_2(capsys):
    Path("g.json").write_text("{}")
    assert check.main(["no.py", "--gradients", "g.json"], "check") == 2
    assert capsys.readouterr().err == "check: no.py: cannot be read: No such file or directory\n"
    with pytest.raises(SystemExit, match="^2$"):
        check.main(["no.py"], "check")
    words = "check: the following arguments are required: --gradients\n"
    assert capsys.readouterr().err == words


def test_too_little_memory_is_status_2(capsys, monkeypatch):
    def large(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "load", large)
    status, _, err = ran(capsys, NUMBERS, file="g.npz")
    assert (status, "there is not enough memory" in err) == (2, True)


# Ends


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_signal_ends_it_without_a_verdict(capsys, number, status, goes_on):
    source = THREE + (
        "import os\n"
        "def reference(x):\n"
        f"    try: os.kill(os.getpid(), {int(number)})\n"
        f"    except {'KeyboardInterrupt' if goes_on else 'ValueError'}: pass\n"
        "    return x.sum()\n"
    )
    found, out, _ = ran(capsys, {"x": [1, 1, 1]}, "--json", "a.json", reference=source)
    assert (found, out, Path("a.json").exists()) == (status, "", False)


def test_an_error_of_ours_is_status_70(capsys, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("ours")

    monkeypatch.setattr("lockstep.gradients.numbers.checked", fails)
    status, out, err = ran(capsys, {"x": right()["x"].tolist()})
    assert (status, out) == (70, "")
    assert "this is an error of lockstep, not of yours (RuntimeError)" in err


def test_a_process_that_the_reference_forks_may_end_as_it_likes(capsys, monkeypatch):
    ends = []
    monkeypatch.setattr(os, "_exit", ends.append)
    source = THREE + (
        "import os\n"
        "def reference(x):\n"
        "    here, os.getpid = os.getpid, lambda: -1\n"
        "    try: os._exit(5)\n"
        "    except SystemExit: pass\n"
        "    os.getpid = here\n"
        "    return x.sum()\n"
    )
    assert ran(capsys, {"x": [1, 1, 1]}, reference=source)[0] == 0
    assert set(ends) == {5}
    assert os._exit == ends.append


@pytest.mark.slow
def test_from_a_shell_with_help_and_status(folder):
    command = [sys.executable, "-m", "lockstep", "check"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    run = {"capture_output": True, "text": True, "env": environment}
    done = subprocess.run([*command, "--help"], **run)
    assert done.returncode == 0
    assert all(
        f"--{name.replace('_', '-')}" in done.stdout
        for name in check._OPTIONS
        if name != "reference"
    )
    (folder / "ref.py").write_text(THREE + "def reference(x): return x.sum()\n")
    (folder / "g.json").write_text('{"x": [1, 1, 2]}')
    done = subprocess.run([*command, "ref.py", "--gradients", "g.json"], **run)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("x: mismatch, 1 of 3 elements differ, first x[2]\n")
