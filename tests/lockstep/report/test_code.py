"""Both sources side by side: aligned by what they compute, with values and marks, never cut."""

import sys

import pytest

from lockstep.cli.compare import main
from lockstep.report import sources
from lockstep.setup.problem import make_problem
from lockstep.sides.code import Here, Source, load
from lockstep.sides.function import Function

SCALARS = make_problem({})
MATRICES = make_problem({"sizes": (3, 4, 2), "samples": 5})


def loaded(path):
    """The derivation of a file."""
    step = load(path.read_bytes(), str(path), "step")
    sys.modules.pop(path.stem, None)
    return Function(Here(step))


def pairs(problem, step=None):
    return sources.aligned(
        sources.by_hand(problem, step and Function(Here(step))), sources.by_torch(problem)
    )


@pytest.mark.parametrize("problem", [SCALARS, MATRICES])
def test_lines_that_stand_abreast_compute_the_same(problem):
    both = [
        (ours, theirs)
        for ours, theirs in pairs(problem)
        if ours and theirs and (ours.of or theirs.of)
    ]
    assert len(both) >= 15
    assert all(ours.of == theirs.of for ours, theirs in both)


@pytest.mark.parametrize("problem", [SCALARS, MATRICES])
def test_both_sources_are_there_in_order_and_in_full(problem):
    rows = pairs(problem)
    for side, source in ((0, sources.by_hand(problem)), (1, sources.by_torch(problem))):
        numbers = [row[side].number for row in rows if row[side]]
        assert numbers == [line.number for line in source.lines] == sorted(numbers)


def test_the_lines_are_those_of_the_files():
    import inspect

    from manual_backprop import two_layer

    file = inspect.getsource(two_layer).splitlines()
    lines = sources.by_hand(MATRICES).lines
    assert all(file[line.number - 1].rstrip() == line.text for line in lines)
    assert not any('"""' in line.text for line in lines)


def test_a_derivations_lines_are_found_by_what_they_assign_or_return(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy\n\n\ndef step(x, W_h, b_h, y):\n    '''mine'''\n    z_h = x @ W_h.T + b_h\n"
        "    h, other = z_h, y\n"
        "    return {'z_h': z_h,\n            'loss': y.sum(), **dict(o=h)}\n"
    )
    lines = {line.number: line.names for line in sources.by_hand(MATRICES, loaded(path)).lines}
    assert lines == {4: (), 6: ("z_h",), 7: ("h",), 8: (), 9: ("loss", "o")}


def test_a_source_that_cannot_be_read_is_told():
    side = Function(Here(lambda x: {}))
    side.code.source = Source("step", ("def step(:\n",))
    assert sources.by_hand(SCALARS, side).title == "step (its source cannot be read)"


HELPED = """
class Layer:
    def __init__(self, W, b):
        '''Keeps them.'''
        self.W, self.b = W, b

    def forward(self, x):
        return x @ self.W.T + self.b


def unused(z):
    return z


def forward(layer, x):
    def again(z):
        return sum(part for part in [z])

    z_h = again(layer.forward(x))
    return z_h


slope = lambda z: 1 + 0 * z


def step(x, W_h, b_h):
    h = 1
    z_h = forward(Layer(W_h, b_h), x)
    return dict(z_h=z_h, h=z_h * slope(z_h))
"""


def test_the_functions_of_a_derivation_that_ran_are_shown_in_their_order(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "helped.py"
    path.write_text(HELPED)
    assert main(["--code", "--derivation", str(path), "--battery", "0"]) == 0
    ours = capsys.readouterr().out.partition("yours: ")[2].partition("PyTorch: torch_ref")[0]
    assert ours.startswith("step, Layer.__init__, Layer.forward, forward\n")
    lines = [line.strip() for line in ours.splitlines()]
    assert lines.index("5      self.W, self.b = W, b") < lines.index("7  def forward(self, x):")
    assert lines.index("20      return z_h") < lines.index("26  def step(x, W_h, b_h):")
    assert ours.count("again(z)") == 1
    assert not [line for line in lines if "unused" in line or "Keeps" in line]


def test_a_quantity_is_that_of_the_step_before_a_helpers_and_of_a_line_before_a_mention():
    step = Source("step", ("def step(x):\n", "    h = f(z_h=x)\n", "    return dict(h=h)\n"), 5)
    helper = Source("f", ("def f(z_h):\n", "    h = z_h\n", "    o = h\n", "    z_h = o\n"), 1)
    side = Function(Here(lambda x: {}))
    side.sources = lambda number: [step, helper]
    lines = {line.number: line.names for line in sources.by_hand(MATRICES, side).lines}
    assert {n: of for n, of in lines.items() if of} == {6: ("h",), 3: ("o",), 4: ("z_h",)}


def test_a_function_without_a_source_is_told():
    step = eval("lambda x: dict(z_h=x)")
    assert sources.by_hand(MATRICES, Function(Here(step))) == sources.Source(
        "<lambda> (its source cannot be read)", []
    )


def test_each_line_has_both_values_and_a_mark(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "130")
    assert main(["--code"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "delta_h1 = 0.016" in line)
    assert line.count("0.0160000000000001") == 2  # the last digit is the processor's
    assert " ✓ " in line
    code = next(line for line in out.splitlines() if "z_h1 = w11 * x1 + w21 * x2 + b1" in line)
    assert "z_h = network.hidden(x)" in code


def test_one_source_stands_below_the_other_where_there_is_no_room_and_nothing_is_cut(
    monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--code", "--sizes", "3-4-2", "--samples", "5"]) == 0
    out = capsys.readouterr().out
    assert (
        out.index("by hand: manual_backprop/two_layer.py")
        < out.index("update(W_h")
        < out.index("PyTorch: torch_ref")
    )
    assert all(len(line) <= 80 for line in out.splitlines())
    for line in (*sources.by_hand(MATRICES).lines, *sources.by_torch(MATRICES).lines):
        assert "".join(line.text.split()) in "".join(out.split())


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_step_that_differs_is_shown_and_marked(columns, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    path = tmp_path / "late.py"
    path.write_text(
        "calls = []\ndef step(delta_o):\n    calls.append(1)\n    grad_b_o = delta_o.sum(axis=0)\n"
        "    return dict(grad_b_o=grad_b_o * (2 if len(calls) > 2 else 1), loss=[1])\n".replace(
            ", loss=[1]", ""
        )
    )
    assert main(["--code", "--derivation", str(path)]) == 1
    out = capsys.readouterr().out
    assert "step 1\n" in out
    assert "step 3\n" in out
    assert "✗" not in out.partition("step 3\n")[0]
    assert "✗" in out.partition("step 3\n")[2].partition("step  loss")[0]


def test_another_shape_is_told_in_place_of_a_value(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "shape.py"
    path.write_text(
        "def step(delta_o, h):\n    grad_W_o = (delta_o.T @ h).ravel()\n"
        "    return {'grad_W_o': grad_W_o}\n"
    )
    assert main(["--code", "--derivation", str(path)]) == 1
    assert "shape of grad_W_o = (4,)" in capsys.readouterr().out


def test_a_stream_that_cannot_encode_gets_ascii(monkeypatch):
    from lockstep.cli.main import encodable

    assert encodable("a  │  b ✗", "ascii") == "a  |  b XX"


def test_a_value_is_shown_once_though_both_sources_have_it_on_other_rows(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("COLUMNS", "130")
    path = tmp_path / "one_line.py"
    path.write_text("def step(z_o, h, W_o, b_o):\n\n\n    return dict(h=h, o=z_o)\n")
    assert main(["--code", "--derivation", str(path), "--battery", "0"]) == 0
    out = capsys.readouterr().out.partition("step  loss")[0]
    assert out.count("o1 = 0.05600000000000005") == 2  # by hand and by PyTorch
    assert [line.number for line in sources.by_hand(SCALARS, loaded(path)).lines] == [
        1,
        2,
        4,
    ]


DEEP = make_problem({"sizes": (3, 4, 4, 2), "samples": 5})


def test_a_loop_over_layers_computes_the_quantities_of_all_layers():
    computed = {line.text.strip(): line.of for line in sources.by_hand(DEEP).lines if line.of}
    assert computed["a[l] = sigma[l](z[l])  # (N, n_l)"] == ("a1", "a2", "a3")
    last = next(of for text, of in computed.items() if text.startswith("delta[last] = "))
    others = next(of for text, of in computed.items() if text.startswith("delta[l] = "))
    assert (last, others) == (("delta3",), ("delta2", "delta1"))
    assert {of for each in computed.values() for of in each} >= {*DEEP.network.computed}


def test_the_values_of_a_loop_stand_below_its_lines(tmp_path, capsys):
    path = tmp_path / "loop.py"
    path.write_text(
        "def step(W1, b1, W2, b2, W3, b3, x):\n"
        "    W, b, z, a, out = [W1, W2, W3], [b1, b2, b3], [], [x], {}\n"
        "    for l in (0, 1, 2):\n"
        "        z.append(a[-1] @ W[l].T + b[l])\n"
        "        a.append(z[-1])\n"
        "        out[f'z{l + 1}'] = z[-1]\n"
        "    return out\n"
    )
    options = ["--derivation", str(path), "--sizes", "3-4-4-2", "--code", "--steps", "1"]
    assert main([*options, "--battery", "0"]) == 0
    out = capsys.readouterr().out
    at = out.index("z.append(a[-1] @ W[l].T + b[l])")
    assert at < out.index("z1[0, ") < out.index("z2[0, ") < out.index("z3[0, ")
    assert out.index("z3[0, ") < out.index("a.append(z[-1])")


def test_numbered_names_in_a_two_layer_derivation_have_their_values(tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_text("def step(W1, b1, x):\n    z1 = x @ W1.T + b1\n    return dict(z1=z1)\n")
    assert main(["--derivation", str(path), "--code", "--steps", "1", "--battery", "0"]) == 0
    ours, _, _ = capsys.readouterr().out.partition("PyTorch: torch_reference")
    assert "z_h1 = 0.060000000000000026  ✓" in ours


def test_pytorchs_update_stands_beside_the_one_by_hand():
    beside = [theirs for ours, theirs in pairs(DEEP) if ours and "new[name] = " in ours.text]
    assert [line.text.strip() for line in beside] == ['new[f"new_{name}"] = p']
