"""The measured bound: right gradients lie inside whatever rounding does, wrong ones do not."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients
from lockstep.gradients import measured
from lockstep.gradients.rounding import modes

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4, 6))
DIRECTED = pytest.mark.skipif(not modes(), reason="rounding can't be directed here")


@pytest.fixture
def without_modes(monkeypatch):
    monkeypatch.setattr(measured, "modes", lambda: ())


def softmax(x):
    return (x.softmax(1) ** 2).sum()


def d_softmax(x):
    e = np.exp(x)
    s = e / e.sum(axis=1, keepdims=True)
    return 2 * s * (s - (s * s).sum(axis=1, keepdims=True))


def spread(x):
    return ((x - x.mean(1, keepdim=True)) ** 2).mean(1).sqrt().sum()


def d_spread(x):
    """By one pass, whose errors are those of x², and which cancel under directed rounding."""
    mean = x.mean(axis=1, keepdims=True)
    deviation = np.sqrt((x * x).mean(axis=1, keepdims=True) - mean**2)
    return (x - mean) / (x.shape[1] * deviation)


def over(x):
    return (x**2 / x.sum()).sum()


def d_over(x):
    return 2 * x / x.sum() - (x**2).sum() / x.sum() ** 2


def graded(x):
    return (x.exp().prod(1) * 1e-5).sum()


def d_graded(x):
    return np.exp(x).prod(axis=1, keepdims=True) * 1e-5 + 0 * x


RIGHT = [
    (softmax, d_softmax, X),
    (softmax, d_softmax, 30 * X),
    (spread, d_spread, X),
    (spread, d_spread, X + 1000),
    (over, d_over, X),
    (graded, d_graded, X + np.array([[-30], [-10], [10], [30]])),
]


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "hand", "x"), RIGHT)
@pytest.mark.parametrize("relative", [0, 1e-7])
def test_where_rounding_is_directed_right_passes_and_a_small_error_is_found(
    reference, hand, x, relative
):
    if not relative:
        assert check_gradients(lambda x: {"x": hand(x)}, reference, x=x).verdict == "match"
        return
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": hand(x) * (1 + relative)}, reference, x=x)


@pytest.mark.slow
@pytest.mark.usefixtures("without_modes")
@pytest.mark.parametrize(("reference", "hand", "x"), RIGHT)
@pytest.mark.parametrize("answer", [lambda g: g, dict])
def test_where_it_is_not_inputs_are_moved_and_that_is_said(reference, hand, x, answer):
    def side(x):
        return {"x": hand(x)}

    numbers = side(x)
    whole = answer is dict and np.abs(x).max() < 100  # numbers that cancel can't be measured
    result = check_gradients(numbers if whole else side, reference, x=x)
    assert result.verdict == "match"
    assert any("rounding can't be directed here" in remark for remark in result.remarks)
    with pytest.raises(GradientMismatch):
        check_gradients({"x": hand(x) * (1 + 1e-6)}, reference, x=x)


@pytest.mark.usefixtures("without_modes")
def test_sides_that_refuse_moved_inputs_are_measured_by_noise():
    def demand_fraction(x):
        if (x > 1).any():
            raise ValueError("expected at most 1")

    def reference(x):
        demand_fraction(x)
        return (x**3).sum()

    def hand(x):
        demand_fraction(x)
        return {"x": 3 * x * x * hand.by}

    hand.by = 1
    assert check_gradients(hand, reference, x=np.array([0.3, 1.0])).verdict == "match"
    hand.by = 1 + 1e-9
    with pytest.raises(GradientMismatch):
        check_gradients(hand, reference, x=np.array([0.3, 1.0]))


def test_the_cancelling_variance_of_a_far_mean_is_right_but_a_part_in_a_thousand_is_not():
    x = X + 1e5
    result = check_gradients(lambda x: {"x": d_spread(x)}, spread, x=x)
    assert any("your gradient loses" in remark for remark in result.remarks)
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": d_spread(x) * 1.001}, spread, x=x)


def upsampled(x):
    return (torch.nn.functional.interpolate(x[None, None], size=14, mode="nearest") ** 2).sum()


def d_upsampled(x, index=lambda i: i * 10 // 14):
    d, rows = np.zeros_like(x), index(np.arange(14))
    np.add.at(d, rows, 2 * x[rows])
    return d


@DIRECTED
@pytest.mark.parametrize(
    ("index", "who"),
    [
        (lambda i: i * 10 // 14, "reference"),
        (lambda i: np.floor(i * 0.1 * 10 / 1.4).astype(int), "hand"),
    ],
)
def test_an_index_that_another_rounding_changes_is_not_counted_as_rounding(index, who):
    x = RANDOM.normal(size=10)
    result = check_gradients(lambda x: {"x": d_upsampled(x, index)}, upsampled, x=x)
    said = [remark for remark in result.remarks if "another branch, or another index" in remark]
    assert any(remark.startswith(who) for remark in said)
    assert result.resolution["worst"] < 1e-13
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": d_upsampled(x, index) * (1 + 1e-9)}, upsampled, x=x)


@DIRECTED
def test_where_a_side_that_branches_refuses_moved_inputs_its_jump_stays_in_the_bound():
    x = RANDOM.normal(size=10)

    def reference(x):
        assert torch.equal(x.detach(), kept), "moved"
        return upsampled(x)

    kept = torch.tensor(x)
    assert check_gradients(lambda x: {"x": d_upsampled(x)}, reference, x=x).resolution["worst"] > 1


@DIRECTED
def test_a_hand_that_fails_under_another_rounding_is_measured_without_it():
    def hand(x):
        e = np.exp(x)
        if (1 / np.full(3, 3.0)).sum() != 1:
            raise ValueError("probabilities do not sum to one")
        return {"x": e / e.sum() * hand.by}

    def reference(x):
        return x.logsumexp(0)

    hand.by = 1
    result = check_gradients(hand, reference, x=X[0])
    assert [remark for remark in result.remarks if "without hand under another rounding" in remark]
    hand.by = 1 + 1e-9
    with pytest.raises(GradientMismatch):
        check_gradients(hand, reference, x=X[0])


@pytest.mark.parametrize(
    ("scale", "operation"),
    [
        (lambda x: (x.float() * 0.7).double(), "to_copy"),
        (lambda x: x * torch.tensor(0.7), "lift_fresh"),
        (lambda x: x * torch.full((6,), 0.7, dtype=torch.float32), "full"),
    ],
)
def test_a_reference_in_a_lower_precision_is_right_only_to_that_and_it_is_said(scale, operation):
    def reference(x):
        return (scale(x) ** 2).sum()

    result = check_gradients(lambda x: {"x": 2 * 0.49 * x}, reference, x=X)
    said = [remark for remark in result.remarks if "a lower precision than its inputs" in remark]
    assert len(said) == 1
    assert operation in said[0]
    assert 1e-8 < result.resolution["typical"] < 1e-4
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": 2 * 0.49 * 1.0001 * x}, reference, x=X)


@pytest.mark.parametrize("constant", [torch.tensor(0.5), torch.tensor(3.0), 0.7])
def test_a_constant_that_has_few_bits_costs_no_precision(constant):
    result = check_gradients(
        lambda x: {"x": 2 * float(constant) ** 2 * x}, lambda x: ((x * constant) ** 2).sum(), x=X
    )
    assert result.remarks == []
    assert result.resolution["worst"] < 1e-12


@pytest.mark.parametrize("x", [np.float32(1.3), np.full(1, 1.3, np.float32)])
def test_the_precision_of_a_single_number_is_that_of_its_input(x):
    result = check_gradients(lambda x: {"x": 3 * x * x}, lambda x: (x**3).sum(), x=x)
    assert result.remarks == []
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": 3.001 * x * x}, lambda x: (x**3).sum(), x=x)


def test_a_reference_in_float32_that_takes_no_float64_has_no_accuracy_from_it():
    def reference(x):
        return (x @ torch.ones(6, 2)).pow(2).sum()

    def hand(x):
        return {"x": 4 * x.sum(axis=1, keepdims=True) + 0 * x}

    x = X.astype(np.float32)
    result = check_gradients(hand, reference, x=x)
    assert result.verdict == "match"
    assert result.accuracy["x"]["hand"] > 0  # by the rounding that was seen
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": np.float32(1.001) * hand(x)["x"]}, reference, x=x)


def test_complex64_is_judged_against_complex128_and_integers_stay_what_they_are():
    def reference(z, k):
        return (z**2).abs().pow(2).sum() * k

    z = (X + 1j * X[::-1]).astype(np.complex64)
    result = check_gradients(
        lambda z, k: {"z": 4 * np.abs(z) ** 2 * z * k}, reference, z=z, k=np.int64(2)
    )
    assert 0 < result.accuracy["z"]["torch"] < 1e-6


@pytest.mark.parametrize(
    ("accumulates", "returns", "words"),
    [
        (
            True,
            lambda d: d.copy(),
            r"hand gives different gradients when it is called again \(x",
        ),
        (False, lambda d: d.copy(), ""),
    ],
)
def test_state_in_hand_is_refused(accumulates, returns, words):
    kept = np.zeros_like(X)

    def hand(x):
        if not accumulates:
            kept[:] = 0
        kept[:] += 2 * x
        return {"x": returns(kept)}

    if words:
        with pytest.raises(ValueError, match=words):
            check_gradients(hand, lambda x: (x**2).sum(), x=X)
    else:
        assert check_gradients(hand, lambda x: (x**2).sum(), x=X).verdict == "match"


@pytest.mark.parametrize("first", range(2, 10))
@pytest.mark.parametrize("wrong", [1, 1.1])
def test_state_that_shows_after_some_calls_is_refused_and_widens_no_bound(first, wrong):
    calls = []

    def hand(x):
        calls.append(x)
        return {"x": 2 * x * wrong * (1.02 if len(calls) >= first else 1)}

    with pytest.raises(ValueError, match="hand gives different gradients when it is called again"):
        check_gradients(hand, lambda x: (x**2).sum(), x=X)


@pytest.mark.usefixtures("without_modes")
@pytest.mark.parametrize("first", [2, 5, 20])
def test_state_that_shows_while_inputs_are_moved_is_refused(first):
    test_state_that_shows_after_some_calls_is_refused_and_widens_no_bound(1.001, first)


@pytest.mark.parametrize("period", [2, 3, 5])
def test_state_that_shows_at_some_calls_is_refused(period):
    calls = []

    def hand(x):
        calls.append(x)
        return {"x": 2 * x * (1.01 if len(calls) % period == 0 else 1)}

    with pytest.raises(ValueError, match="hand gives different gradients when it is called again"):
        check_gradients(hand, lambda x: (x**2).sum(), x=X)


@DIRECTED
def test_a_match_calls_your_function_nine_times():
    calls = []

    def hand(x):
        calls.append(x)
        return {"x": 2 * x}

    assert check_gradients(hand, lambda x: (x**2).sum(), x=X).verdict == "match"
    assert len(calls) == 9


def test_a_value_that_is_finite_at_one_call_alone_is_refused():
    calls = []

    def hand(x):
        calls.append(x)
        return {"x": 2 * x if len(calls) == 1 else np.full_like(x, np.nan)}

    with pytest.raises(ValueError, match="hand gives different gradients"):
        check_gradients(hand, lambda x: (x**2).sum(), x=X)


def test_a_name_that_hand_returns_at_one_call_alone_is_refused_or_measured_by_the_other():
    calls = []

    def hand(x, w):
        calls.append(x)
        return {"x": w + 0 * x} | ({"w": x.sum()} if len(calls) == 1 else {})

    with pytest.raises(ValueError, match="hand gives different gradients"):
        check_gradients(hand, lambda x, w: (x * w).sum(), x=X, w=np.float32(2))


@pytest.mark.parametrize(
    ("tolerance", "relative", "right"),
    [
        ({"rtol": 1e-3}, 1e-4, True),
        ({"rtol": 1e-3}, 1e-2, False),
        ({"atol": 1e-1}, 1e-4, True),
        ({"atol": 1e-6}, 1e-2, False),
        ({"rtol": 1e-3, "atol": 1e-6}, 1e-4, True),
        ({"rtol": 0}, 1e-10, False),
    ],
)
def test_a_tolerance_takes_the_place_of_the_bound(tolerance, relative, right):
    def hand(x):
        return {"x": 2 * x * (1 + relative)}

    def reference(x):
        return (x**2).sum()

    if right:
        result = check_gradients(hand, reference, x=X, **tolerance)
        assert result.accuracy == {"x": {"hand": None, "torch": None}}
        return
    with pytest.raises(GradientMismatch, match=r"; your tolerance \(rtol .* allows"):
        check_gradients(hand, reference, x=X, **tolerance)


def test_a_large_reference_is_measured_too():
    x = RANDOM.normal(size=(30, 200))  # more numbers than the pool of noise has
    result = check_gradients(lambda x: {"x": d_softmax(x)}, softmax, x=x)
    assert result.verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": d_softmax(x) * (1 + 1e-10)}, softmax, x=x, diagnose=False)


def test_a_large_reference_in_half_precision_is_measured_too():
    x = torch.tensor(RANDOM.normal(size=(30, 200)), dtype=torch.float16)

    def reference(x):
        return (x * x).sum()

    assert check_gradients(lambda x: {"x": 2 * x}, reference, x=x).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": np.float16(2.2) * x}, reference, x=x)


def test_a_reference_may_differentiate_inside_and_its_value_is_known():
    def reference(x):
        (d,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
        return (d**2).sum()

    def hand(x):
        return {"x": 36 * x**3}

    assert check_gradients(hand, reference, x=X).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": 18 * x**3}, reference, x=X)


@pytest.mark.slow
def test_a_hand_that_never_ends_under_another_rounding_is_left_out_of_the_bound(monkeypatch):
    def hand(x):
        while x[0] / 3 * 3 != x[0]:  # only where a third is rounded to nearest
            pass
        return {"x": 2 * x}

    monkeypatch.setattr("lockstep.gradients.measured._PATIENCE", 0.1)
    result = check_gradients(hand, lambda x: (x * x).sum(), x=np.ones(3))
    assert any("hand raised TimeoutError" in remark for remark in result.remarks)
    with pytest.raises(GradientMismatch):
        check_gradients(
            lambda x: {"x": hand(x)["x"] * (1 + 1e-9)}, lambda x: (x * x).sum(), x=np.ones(3)
        )
