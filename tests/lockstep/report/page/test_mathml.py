"""The formulas as MathML: read back as arithmetic, they give the numbers of the code by hand."""

import ast
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from lockstep.bound.allowed import tolerance
from lockstep.report.formulas import MathML, equation, places, symbol
from lockstep.report.page.step_data import row_names, samples_of, step_data
from lockstep.run.steps import records
from lockstep.setup.problem import make_problem
from lockstep.sides.built_in import BuiltIn
from manual_backprop.activations import ACTIVATIONS, activation
from tests.deep import PROBLEMS, name_of, problem
from tests.lecture import COMPUTED, LECTURE, scalar_names

_FUNCTIONS = {"tanh": math.tanh, "sigmoid": lambda z: 1 / (1 + math.exp(-z))}


_VALUES = {name: activation(name)[0] for name in ACTIVATIONS}
_VALUES |= {
    "math": math,
    "exp": math.exp,
    "log": math.log,
    "leaky": activation("leaky_relu:0.3")[0],
}
_SMALL = [values for values in PROBLEMS if "5" not in values["sizes"]]


def _slope(z):
    return 1 - math.tanh(z) ** 2


def arithmetic(node, put):
    """An element of MathML as a Python expression, numbers in the place of names."""
    if "data-q" in node.attrib:
        return put[node.attrib["data-q"]]
    inside = [arithmetic(child, put) for child in node]
    match node.tag:
        case "mfrac":
            return f"(({inside[0]}) / ({inside[1]}))"
        case "msup":
            return "slope" if node[1].text == "′" else f"({inside[0]}) ** {inside[1]}"
        case "mo":
            return {"·": "*", "−": "-"}.get(node.text, node.text)
        case "mi" | "mn":
            return {"σ": "sigma"}.get(node.text, node.text)
    return "".join(inside)


def put_in(scalar, problem, numbers):
    """A formula with its numbers, as a Python expression."""
    parts = places(scalar, problem)
    text = "".join(part if isinstance(part, str) else numbers[part[0]] for part in parts)
    return text.replace("·", "*").replace("−", "-").replace("²", "**2")


def only_record(settings):
    problem = make_problem(settings | {"steps": 1})
    record = next(records(problem, tolerance(problem, {}), BuiltIn()))
    return record, problem


@pytest.mark.parametrize("loss", ["mse", "sum", "half_sum"])
@pytest.mark.parametrize("which", ["linear", "sigmoid", "tanh"])
def test_the_numbers_put_into_every_formula_give_the_value_beside_it(loss, which):
    settings = {"seed": 4, "hidden_activation": which, "output_activation": which, "loss": loss}
    record, problem = only_record(settings | {"sizes": (2, 2, 2)})
    step = step_data(record, problem, 1)
    for name in COMPUTED:
        for scalar in scalar_names(name, (2, 2, 2), 1):
            value = eval(put_in(scalar, problem, step["put"]), dict(_FUNCTIONS))
            assert value == pytest.approx(float(step["rows"][scalar][0]), rel=1e-6, abs=1e-9), (
                scalar
            )


@pytest.mark.parametrize("loss", ["mse", "sum", "half_sum"])
def test_the_same_formula_in_names_gives_the_value_of_these_names(loss):
    record, problem = only_record(
        {"seed": 9, "sizes": (2, 2, 2), "hidden_activation": "tanh", "loss": loss}
    )
    put = step_data(record, problem, 1)["put"]
    for name in COMPUTED:
        for scalar in scalar_names(name, (2, 2, 2), 1):
            tree = ElementTree.fromstring(equation(scalar, 1, problem.network))
            assert tree[0].attrib == {"data-q": scalar}
            named = [node.attrib["data-q"] for node in tree.iter() if "data-q" in node.attrib][1:]
            assert named
            assert set(named) <= put.keys()


def test_a_matrix_formula_names_the_matrices_it_is_made_of():
    tree = ElementTree.fromstring(equation("delta_h", None, LECTURE))
    assert [node.attrib["data-q"] for node in tree.iter() if "data-q" in node.attrib] == [
        "delta_h",
        "delta_o",
        "W_o",
        "z_h",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w11", "w11"),
        ("delta_h1", "δh1"),
        ("new_b3", "b3new"),
        ("grad_w31", "∂L∂w31"),
        ("lr", "α"),
        ("loss", "L"),
        ("W_h[0, 1]", "Wh[0, 1]"),
        ("new_W_h[0, 1]", "Wh[0, 1]new"),
        ("delta3[4, 1]", "δ3[4, 1]"),
        ("x[0, 1]", "x[0, 1]"),
        ("b_o", "bo"),
    ],
)
def test_a_name_is_written_as_its_symbol(name, text):
    assert "".join(ElementTree.fromstring(symbol(name)).itertext()) == text


def test_numbers_of_a_step_are_put_in_with_nine_digits_and_negative_ones_in_brackets():
    record, problem = only_record({})
    assert (
        put_in("z_h1", problem, step_data(record, problem, 1)["put"])
        == "0.4*0.5 + (-0.3)*0.8 + 0.1"
    )


def test_a_formula_in_symbols_is_the_same_arithmetic_as_with_numbers():
    record, problem = only_record(
        {"seed": 9, "sizes": (2, 2, 2), "hidden_activation": "tanh", "loss": "sum"}
    )
    put = step_data(record, problem, 1)["put"]
    for name in COMPUTED:
        for scalar in scalar_names(name, (2, 2, 2), 1):
            written = arithmetic(ElementTree.fromstring(equation(scalar, 1, problem.network)), put)
            sigma, slope = (math.tanh, _slope) if name.endswith("h") else (lambda z: z, lambda z: 1)
            value = eval(written.partition("=")[2], {"sigma": sigma, "slope": slope})
            assert value == pytest.approx(float(put[scalar].strip("()")), rel=1e-6), scalar


def test_a_divisor_of_one_is_left_out():
    assert equation("loss", None, replace(LECTURE, loss="sum")).count("<mfrac>") == 0
    assert equation("loss", None, replace(LECTURE, loss="half_sum")).count("<mfrac>") == 1


@pytest.mark.slow
@pytest.mark.parametrize("values", _SMALL, ids=name_of)
def test_the_numbers_put_into_the_formulas_of_any_network_give_its_elements(values):
    it = problem(values)
    run = records(it, tolerance(it, {}), BuiltIn())
    samples = samples_of(it)
    assert samples == it.batch_samples
    for record in (next(run), next(run)):  # the second one starts with a memory
        put = step_data(record, it, samples)["put"]
        for name, of, index in row_names(it, samples):
            if of.startswith("new_") and it.network.parameter(of) in it.frozen:
                continue
            text = put_in(name, it, put).replace("^", "**").replace("√", "math.sqrt")
            text = re.sub(r"\|(.*?)\|", r"abs(\1)", text).replace("sign(", "math.copysign(1, ")
            found = eval(text.replace("leaky_relu:0.3", "leaky"), _VALUES)
            assert found == pytest.approx(float(record.torch[of][index]), rel=1e-5, abs=1e-8), name


def test_what_has_no_way_to_be_written_is_told():
    with pytest.raises(TypeError, match="no way to write"):
        MathML().written(ast.parse("[1]", mode="eval").body)
