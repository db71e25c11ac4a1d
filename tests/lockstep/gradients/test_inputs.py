"""What a check is given: arrays in dicts, lists and tuples, in any dtype, and constants."""

import collections

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients
from lockstep.gradients.inputs import flat, given, parts

X = np.random.default_rng(0).normal(size=(3, 4))
Pair = collections.namedtuple("Pair", "a b")


def d_square(x):
    return {"x": 2 * x}


def squares(x):
    return (x**2).sum()


@pytest.mark.parametrize(
    ("params", "gradients", "wrong"),
    [
        ({"w": X, "b": X[0]}, lambda p: {"w": 2 * p["w"], "b": 2 * p["b"]}, "params['w']"),
        ([X, X[0]], lambda p: [2 * p[0], 2 * p[1]], "params[0]"),
        ((X, X[0]), lambda p: (2 * p[0], 2 * p[1]), "params[0]"),
        (Pair(X, X[0]), lambda p: Pair(2 * p.a, 2 * p.b), "params[0]"),
        ({"l": [{"w": X}]}, lambda p: {"l": [{"w": 2 * p["l"][0]["w"]}]}, "params['l'][0]['w']"),
    ],
)
def test_parameters_come_in_dicts_lists_and_tuples_and_gradients_go_back_so(
    params, gradients, wrong
):
    def reference(params):
        def total(node):
            if isinstance(node, torch.Tensor):
                return (node**2).sum()
            return sum(map(total, node.values() if isinstance(node, dict) else node))

        assert type(params) is kind
        return total(params)

    kind = type(params)
    right = check_gradients(lambda params: {"params": gradients(params)}, reference, params=params)
    assert (right.verdict, next(iter(right.accuracy))) == ("match", wrong)
    it = given({"params": params})
    doubled = it.for_hand({name: 2 * array for name, array in it.arrays.items()})["params"]
    with pytest.raises(GradientMismatch) as error:
        check_gradients({"params": gradients(doubled)}, reference, params=params)
    assert error.value.first_mismatch["quantity"] == wrong


def test_a_module_is_called_with_parameters_in_a_dict():
    module = torch.nn.Linear(4, 2).double()

    def reference(params, x):
        return (torch.func.functional_call(module, params, (x,)) ** 2).sum()

    def hand(params, x):
        d = 2 * (x @ params["weight"].T + params["bias"])
        return {"params": {"weight": d.T @ x * hand.by, "bias": d.sum(axis=0)}}

    inputs = dict(params={k: v.detach() for k, v in module.named_parameters()}, x=X)
    hand.by = 1
    assert check_gradients(hand, reference, **inputs).verdict == "match"
    hand.by = 3
    with pytest.raises(GradientMismatch, match=r"right     params\['bias'\]"):
        check_gradients(hand, reference, **inputs)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"p": np.ones(2)}, "one gradient for 'p'; expected its parts, such as p['w']"),
        ({"p": {"z": np.ones(2)}}, "hand returned \"p['z']\"; expected the name of an input"),
        ({"p": {"w": 1, "b": 1}}, "\"p['b']\", which reference does not depend on"),
        ({"s": np.ones(2)}, "a gradient for 's', which is no array of numbers; expected none"),
        ({"t": [1, 1, 1.0]}, "hand returned 't[2]'; expected the name"),
    ],
)
def test_a_gradient_for_what_has_none_is_refused_with_its_reason(answer, words):
    given = dict(p={"w": np.ones(2), "b": np.ones(())}, s="sum", t=[X, X])
    if "w" in answer.get("p", ()):
        answer = {"p": {"w": 2 * np.ones(2), "b": np.ones(())}}
    if "t" in answer:
        answer = {"t": [2 * X, 2 * X, 2 * X]}
    with pytest.raises(ValueError) as error:  # noqa: PT011
        check_gradients(
            answer,
            lambda p, s, t: (p["w"] ** 2).sum() + sum((a**2).sum() for a in t),
            **given,
        )
    assert words in str(error.value)


def test_everything_else_is_passed_on_as_it_is():
    class Config:
        power = 2

    def reference(x, reduction, axis, shape, nothing, on, config, sizes):
        assert (reduction, axis, nothing, on, shape) == ("sum", 0, None, True, (4, 3))
        assert type(axis) is int
        assert sizes == {"n": 3, "names": ["a", "b"], "none": ()}
        return getattr(x.reshape(shape) ** config.power, reduction)(axis).sum()

    def hand(x, axis, shape, sizes, **_):
        assert type(axis) is int
        assert shape == (4, 3)
        assert type(sizes["n"]) is int
        return {"x": 2 * x}

    result = check_gradients(
        hand,
        reference,
        x=X,
        reduction="sum",
        axis=0,
        shape=(4, 3),
        nothing=None,
        on=True,
        config=Config(),
        sizes={"n": 3, "names": ["a", "b"], "none": ()},
    )
    assert result.verdict == "match"


def test_a_number_is_differentiated_if_hand_returns_its_gradient_and_else_it_is_a_number():
    def reference(x, t):
        return (x * t**2).sum() if isinstance(t, torch.Tensor) else (x * t**2).sum() * (1 + 0 * t)

    differentiated = check_gradients(
        lambda x, t: {"t": 2 * t * x.sum(), "x": t**2 + 0 * x}, reference, x=X, t=1.5
    )
    assert list(differentiated.accuracy) == ["t", "x"]
    assert check_gradients(lambda x, t: {"x": t**2 + 0 * x}, reference, x=X, t=2).values == 12
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x, t: {"t": t * x.sum()}, reference, x=X, t=1.5)


def test_numbers_that_the_reference_takes_only_as_tensors_reach_it_as_tensors():
    def reference(x, t):
        return torch.mul(x, torch.exp(t)).sum()  # torch.exp takes no number

    result = check_gradients(lambda x, t: {"x": np.exp(t) + 0 * x}, reference, x=X, t=0.5)
    assert result.verdict == "match"
    with pytest.raises(TypeError, match="reference raised TypeError: unsupported"):
        check_gradients(lambda x: {"x": x}, lambda x: (x + "a").sum(), x=X)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (X.astype(">f8"), np.float64),
        (X.astype(">f4"), np.float32),
        (X[::-1, ::-2], np.float64),
        (X.T, np.float64),
        (np.asarray(X, np.longdouble), np.float64),
        (X.tolist(), np.float64),
        (np.broadcast_to(X[0], (3, 4)), np.float64),
        (torch.tensor(X).T, np.float64),
        (torch.tensor(X, dtype=torch.float16), np.float16),
        (torch.tensor(X, dtype=torch.bfloat16), np.float32),
        (np.float32(3.0), np.float32),
    ],
)
def test_arrays_of_any_kind_are_legal_and_reach_hand_in_a_usual_one(x, kind):
    def hand(x):
        assert x.dtype == kind
        assert x.flags.c_contiguous
        assert x.dtype.isnative
        return {"x": 2 * x}

    assert check_gradients(hand, squares, x=x).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": 2.5 * x}, squares, x=x)


def test_bfloat16_reaches_the_reference_as_it_was_given():
    def reference(x):
        assert x.dtype == torch.bfloat16
        return (x**2).sum()

    x = torch.tensor(X, dtype=torch.bfloat16)
    result = check_gradients(d_square, reference, x=x)
    assert result.resolution["typical"] > 2.0**-9
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": 2.5 * x}, reference, x=x)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.int16, np.int64, bool])
def test_indices_and_masks_of_any_type_are_constants(kind):
    def hand(x, rows):
        d = np.zeros_like(x)
        np.add.at(d, rows.astype(int), 2 * x[rows.astype(int)])
        return {"x": d}

    rows = np.array([1, 0, 1]).astype(kind)
    result = check_gradients(hand, lambda x, rows: squares(x[rows.long()]), x=X, rows=rows)
    assert result.verdict == "match"


def test_inputs_without_a_returned_gradient_are_constants_also_infinite_ones():
    def hand(x, mask):
        e = np.exp(x + mask)
        s = e / e.sum(axis=1, keepdims=True)
        d = 2 * s
        return {"x": s * (d - (s * d).sum(axis=1, keepdims=True)) * hand.by}

    mask = np.where(np.arange(4) > 2, -np.inf, 0.0)
    hand.by = 1
    inputs = dict(x=X, mask=mask)
    assert check_gradients(hand, lambda x, mask: squares((x + mask).softmax(1)), **inputs)
    hand.by = 1.001
    with pytest.raises(GradientMismatch):
        check_gradients(hand, lambda x, mask: squares((x + mask).softmax(1)), **inputs)


def test_complex_inputs_have_gradients_by_the_real_and_by_the_imaginary_part():
    z = X + 1j * X[::-1]

    def reference(z):
        return (z * z * (2 + 1j)).real.sum() + z.abs().pow(2).sum()

    def hand(z):
        return {"z": np.conj(2 * z * (2 + 1j)) + 2 * z}

    result = check_gradients(hand, reference, z=z)
    assert (result.verdict, result.values) == ("match", 24)
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda z: {"z": hand(z)["z"] + 1e-9j * (z == z[1, 2])}, reference, z=z)
    assert error.value.first_mismatch["label"] == "z[1, 2].imag"


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_gradients_and_sparse_constants_are_legal():
    rows, table = np.array([0, 2, 2]), X
    sparse = torch.eye(3, dtype=torch.float64).to_sparse()

    def reference(table, rows, sparse):
        taken = torch.nn.functional.embedding(rows, table, sparse=True)
        return (sparse @ taken).pow(2).sum()

    def hand(table, rows, sparse):
        d = np.zeros_like(table)
        np.add.at(d, rows, 2 * table[rows])
        return {"table": hand.kind(torch.tensor(d * hand.by))}

    inputs = dict(table=table, rows=rows, sparse=sparse)
    hand.by = 1
    for hand.kind in (torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr, torch.Tensor.numpy):
        assert check_gradients(hand, reference, **inputs).verdict == "match"
    hand.by = 2
    with pytest.raises(GradientMismatch):
        check_gradients(hand, reference, **inputs)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": [[1.0], [1.0, 2.0]]}, "input 'x' is no array"),
        ({"x": "a"}, "no input holds floating-point numbers"),
        ({"x": 3}, "no input holds floating-point numbers"),
    ],
)
def test_what_holds_nothing_to_differentiate_is_refused(inputs, words):
    with pytest.raises(TypeError, match=words):
        given(inputs)


def test_gradients_in_a_structure_are_flattened_by_that_of_the_inputs():
    it = given({"p": {"w": X, "l": [X, X]}, "x": X})
    answer = flat({"p": {"w": 1, "l": [2]}, "x": {"y": 3}, "z": [4]}, it)
    assert answer == {"p['w']": 1, "p['l'][0]": 2, "x": {"y": 3}, "z": [4]}


def test_complex_numbers_become_pairs_of_real_ones():
    assert parts(np.array([1 + 2j, 3j], np.complex64)).tolist() == [[1, 2], [0, 3]]
    assert parts(np.array([1, 2], np.float32)).dtype == np.float64


@pytest.mark.parametrize("other", [np.ones(2), 2.0, np.arange(2), [1.0, 2.0]])
@pytest.mark.parametrize("first", [True, False])
def test_two_inputs_of_one_name_are_refused(other, first):
    part, whole = {"a": {"b": np.ones(2)}}, {"a['b']": other}
    with pytest.raises(ValueError, match=r"^two inputs are called a\['b'\]; expected different na"):
        check_gradients(
            lambda **given: given["a"],
            lambda **given: given["a"]["b"].sum(),
            **(part | whole if first else whole | part),
        )
