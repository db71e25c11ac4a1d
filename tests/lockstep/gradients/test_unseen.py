"""What a match lists as not tested: mistakes that these inputs pass, and inputs that show them."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_function, check_gradients

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4, 3))
POSITIVE = np.abs(X) + 0.1


def listed(hand, reference, **inputs):
    """The names, and the sentences as one text."""
    result = check_gradients(hand, reference, **inputs)
    assert result.verdict == "match"
    assert all(f"not tested: {sentence}" in str(result) for sentence in result.untested)
    return result.cannot_see, "\n".join(result.untested)


def sign(x):
    return {"x": np.sign(x)}


def absolute(x):
    return x.abs().sum()


def weighted(x, w):
    return {"x": w * np.ones_like(x)}


def weighted_sum(x, w):
    return (x * w).sum()


def of_rows(table, rows):
    d_table = np.zeros_like(table)
    np.add.at(d_table, rows, 1.0)
    return {"table": d_table}


def rows_of(table, rows):
    return table[rows].sum()


def largest(x):
    d_x = np.zeros_like(x)
    np.put_along_axis(d_x, x.argmax(axis=1)[:, None], 1.0, axis=1)
    return {"x": d_x}


def by_matrix(A):
    return {"A": np.ones_like(A)}


MEAN = dict(hand=lambda x: {"x": 2 * x / x.size}, reference=lambda x: (x * x).mean())
CASES = {
    "positive": (
        dict(hand=sign, reference=absolute, x=POSITIVE),
        "factor-missing",
        "every x is positive, so a forgotten sign(x)",
        dict(x=X),
    ),
    "no tie": (
        dict(hand=largest, reference=lambda x: x.max(1).values.sum(), x=X),
        "kink",
        "no two values of x are equal",
        dict(x=np.round(X)),
    ),
    "ones": (
        dict(hand=weighted, reference=weighted_sum, x=X, w=np.ones((4, 3))),
        "incoming-gradient-ignored",
        "every w is 1, so a factor w that is left out",
        dict(w=X),
    ),
    "ones that are differentiated": (
        dict(hand=lambda x: {"x": 2 * x}, reference=lambda x: (x * x).sum(), x=np.ones(3)),
        "factor-missing",
        "every x is 1",
        dict(x=X),
    ),
    "constant": (
        dict(hand=weighted, reference=weighted_sum, x=X, w=np.full((4, 3), 0.7)),
        "wrong-index",
        "every w is 0.7",
        dict(w=X),
    ),
    "equal halves": (
        dict(
            hand=weighted,
            reference=weighted_sum,
            x=RANDOM.normal(size=(5, 6)),
            w=np.tile(X[0], (1, 2)),
        ),
        "wrong-index",
        "the two halves of w along axis 1 are equal",
        dict(w=RANDOM.normal(size=6)),
    ),
    "one sample": (
        dict(**MEAN, x=X[:1]),
        "one-sample-only",
        "axis 0 of x has length 1",
        dict(x=X),
    ),
    "symmetric": (
        dict(hand=by_matrix, reference=lambda A: A.sum(), A=X.T @ X),
        "transposed-weights",
        "A is symmetric",
        dict(A=RANDOM.normal(size=(3, 3))),
    ),
    "equal lengths": (
        dict(**MEAN, x=RANDOM.normal(size=(3, 3))),
        "scaled-by-constant",
        "both axes of x have length 3",
        dict(x=X),
    ),
    "no index twice": (
        dict(hand=of_rows, reference=rows_of, table=X, rows=np.array([2, 0])),
        "wrong-index",
        "no index in rows is repeated",
        dict(rows=np.array([2, 2])),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_these_inputs_cannot_show_is_listed_and_other_inputs_show_it(case):
    given, mistake, words, better = CASES[case]
    names, sentences = listed(**given)
    assert mistake in names
    assert words in sentences
    assert words not in listed(**(given | better))[1]


def test_what_is_listed_for_an_input_passes_with_it_and_is_found_with_another():
    def forgetful(x):
        return {"x": np.ones_like(x)}

    assert "factor-missing" in check_gradients(forgetful, absolute, x=POSITIVE).cannot_see
    with pytest.raises(GradientMismatch):
        check_gradients(forgetful, absolute, x=X)


def test_nothing_is_listed_without_an_operation_that_it_is_about():
    def product(A):
        return {"A": np.array([[0.0, A[1, 0]], [A[0, 1], 0.0]])}

    assert listed(lambda x: {"x": 1 / x}, lambda x: x.log().sum(), x=POSITIVE)[0] == []
    square = RANDOM.normal(size=(2, 2))
    assert listed(product, lambda A: A[0, 1] * A[1, 0], A=square)[0] == []


def test_large_inputs_single_numbers_and_incoming_gradients_are_not_looked_at():
    many = np.ones(20_000)
    assert listed(lambda x: {"x": 2 * x}, lambda x: (x * x).sum(), x=many)[0] == []
    assert listed(lambda x: {"x": 2 * x}, lambda x: x * x, x=np.ones(()))[0] == []
    result = check_function(torch.sin, torch.sin, x=torch.tensor(X))
    assert result.cannot_see == []


def test_of_a_function_an_index_that_many_have_is_missed():
    table, rows = torch.tensor(RANDOM.normal(size=(9, 2))), torch.arange(16) // 2
    few = check_function(lambda table, rows: table[rows], rows_only, table=table, rows=rows)
    assert "no index in rows is repeated more than 2 times" in str(few)
    many = check_function(lambda table, rows: table[rows], rows_only, table=table, rows=rows // 3)
    assert "is repeated" not in str(many)


def rows_only(table, rows):
    return table[rows]


def test_integers_that_are_no_index_are_not_listed():
    def reference(x, power):
        return (x**power).sum()

    names, _ = listed(
        lambda x, power: {"x": power * x ** (power - 1)}, reference, x=X, power=np.array([1, 2, 3])
    )
    assert names == []
