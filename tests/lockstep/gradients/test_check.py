"""check_gradients: right derivations pass, however bad the rounding; mistakes are named."""

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_gradients, watch
from tests.gallery import expression

LAYER_NORM = expression("layer_norm")


def test_layer_norm_far_from_zero_is_rounding_and_both_sides_lose_alike():
    given = LAYER_NORM.inputs(np.random.default_rng(1))
    given["x"] = (given["x"] + 1e4).astype(np.float32)
    result = check_gradients(LAYER_NORM.hand, LAYER_NORM.reference, **given)
    assert result.accuracy["x"]["hand"] > 1e-5
    assert result.accuracy["x"]["torch"] > 1e-5
    assert "; rounding puts yours off by" in str(result)


def test_a_right_but_noisy_formula_is_a_match_with_a_remark():
    def reference(x):
        return ((x - x.mean()) ** 2).mean().sqrt()

    def naive(x):
        deviation = np.sqrt((x * x).mean() - x.mean() ** 2)
        return {"x": (x - x.mean()) / (x.size * deviation)}

    x = np.random.default_rng(0).normal(size=50) + 300
    result = check_gradients(naive, reference, x=x)
    assert any("loses" in remark for remark in result.remarks)


def by_one_pass(kind=np.asarray, part=1.0):
    """LayerNorm by hand, the variance as E[x²] − E[x]². part: of the term through it."""

    def hand(x, weight, bias, target):
        mean = x.mean(axis=1, keepdims=True)
        r = 1 / np.sqrt((x * x).mean(axis=1, keepdims=True) - mean**2 + 1e-5)
        x_hat = (x - mean) * r
        g = 2 * (x_hat * weight + bias - target) / x.size * weight
        d_x = r * (
            g
            - g.mean(axis=1, keepdims=True)
            - part * x_hat * (g * x_hat).mean(axis=1, keepdims=True)
        )
        return {"x": kind(d_x)}

    return hand


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.asarray, lambda array: torch.tensor(array.astype(np.float64))])
@pytest.mark.parametrize("seed", range(3, 6))
@pytest.mark.parametrize("offset", [1e3, 1e4, 10**4.5, 1e6])
def test_a_formula_that_cancels_is_a_match_also_where_float32_breaks_down(kind, seed, offset):
    given = LAYER_NORM.inputs(np.random.default_rng(seed))
    given["x"] += offset
    assert check_gradients(by_one_pass(kind), LAYER_NORM.reference, **given).verdict == "match"


def test_a_wrong_formula_is_not_hidden_by_its_cancellation():
    given = LAYER_NORM.inputs(np.random.default_rng(0))
    given["x"] += 1e4
    with pytest.raises(GradientMismatch) as error:
        check_gradients(by_one_pass(part=0.8), LAYER_NORM.reference, **given)
    assert error.value.diagnoses[0]["mistake"] == "scaled-by-constant"
    assert "through `var` of layer_norm" in error.value.diagnoses[0]["says"]
    assert error.value.first_mismatch["allowed"] < 1e-5


def test_a_match_that_says_little_says_so():
    def reference(x):
        return ((x * x).mean() - x.mean() ** 2).sqrt()

    def hand(x):
        return {"x": (x - x.mean()) / (x.size * x.std())}

    result = check_gradients(hand, reference, x=np.random.default_rng(0).normal(size=50) + 3e6)
    assert result.resolution["typical"] > 1e-3
    assert any(remark.startswith("little is known of x") for remark in result.remarks)
    assert "x: right, as far as could be seen" in str(result)


def test_library_functions_are_looked_into_and_one_sample_only_is_named():
    def reference(x, gamma, given):
        return (torch.nn.functional.group_norm(x, 2, gamma) * given).sum()

    def hand(x, gamma, given):
        groups = x.reshape(len(x), 2, -1)
        x_hat = (groups - groups.mean(axis=2, keepdims=True)) / np.sqrt(
            groups.var(axis=2, keepdims=True) + 1e-5
        )
        return {"gamma": (given * x_hat.reshape(x.shape))[0].sum(axis=1)}

    random = np.random.default_rng(0)
    inputs = dict(
        x=random.normal(size=(3, 4, 5)),
        gamma=random.normal(size=4),
        given=random.normal(size=(3, 4, 5)),
    )
    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, reference, **inputs)
    assert error.value.diagnoses[0]["mistake"] == "one-sample-only"
    assert "only the first row counts for gamma" in error.value.diagnoses[0]["says"]


def recurrent(x, W, U):
    h = torch.zeros(x.shape[1], U.shape[0], dtype=x.dtype)
    for x_t in x:
        h = torch.tanh(x_t @ W.T + h @ U.T)
    return (h**2).sum() / 2


def d_recurrent(slope, last_only=False):
    """The gradients of W and U, back through time. slope: of tanh, from its result."""

    def hand(x, W, U):
        h = [np.zeros((x.shape[1], len(U)), x.dtype)]
        for x_t in x:
            h.append(np.tanh(x_t @ W.T + h[-1] @ U.T))
        d_h, d_W, d_U = h[-1], 0 * W, 0 * U
        for t in reversed(range(len(x))):
            d_z = d_h * slope(h[t + 1])
            d_W, d_U, d_h = d_W + d_z.T @ x[t], d_U + d_z.T @ h[t], d_z @ U
            if last_only:
                break
        return {"W": d_W, "U": d_U}

    return hand


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hand", "mistake", "words"),
    [
        (
            d_recurrent(lambda h: 1 - h),
            "wrong-activation-derivative",
            "1 − tanh in place of the derivative of `tanh`",
        ),
        (
            d_recurrent(lambda h: 1),
            "missing-activation-derivative",
            "the derivative of `tanh` in test_check.py",
        ),
        (
            d_recurrent(lambda h: 1 - h * h, last_only=True),
            "term-missing",
            "only the term through",
        ),
    ],
)
def test_a_mistake_that_a_loop_repeats_is_named(hand, mistake, words):
    random = np.random.default_rng(0)
    inputs = dict(
        x=random.normal(size=(7, 4, 5)),
        W=random.normal(size=(6, 5)) / 2,
        U=random.normal(size=(6, 6)) / 2,
    )
    assert check_gradients(d_recurrent(lambda h: 1 - h * h), recurrent, **inputs).verdict == "match"
    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, recurrent, **inputs)
    assert [found["mistake"] for found in error.value.diagnoses] == [mistake] * 2
    assert words in error.value.diagnoses[0]["says"]


def test_one_of_two_calls_of_a_library_function_that_is_forgotten_is_named_as_a_whole():
    def reference(a, p, n):
        near = torch.nn.functional.cosine_similarity(a, p, dim=1)
        return (torch.nn.functional.cosine_similarity(a, n, dim=1) - near).sum()

    def d_cosine(u, v):  # with respect to u
        length_u, length_v = (np.sqrt((w * w).sum(axis=1, keepdims=True)) for w in (u, v))
        cosine = (u * v).sum(axis=1, keepdims=True) / (length_u * length_v)
        return v / (length_u * length_v) - cosine * u / length_u**2

    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(6, 4)) for name in "apn"}
    right = check_gradients(
        lambda a, p, n: {"a": d_cosine(a, n) - d_cosine(a, p)}, reference, **inputs
    )
    assert right.verdict == "match"
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda a, p, n: {"a": -d_cosine(a, p)}, reference, **inputs)
    assert error.value.diagnoses[0]["mistake"] == "term-missing"
    assert (
        "lacks the term through `cosine_similarity` in test_check.py"
        in error.value.diagnoses[0]["says"]
    )
    assert "cosine_similarity(a, n, dim=1) - near" in error.value.diagnoses[0]["says"]


def test_a_way_by_one_minus_something_is_named_as_it_is_written():
    def reference(p):
        return ((1 - p) ** 2 * torch.log(p)).sum()

    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda p: {"p": (1 - p) ** 2 / p}, reference, p=np.linspace(0.1, 0.9, 5))
    assert "lacks the term through `1 - p` in test_check.py" in error.value.diagnoses[0]["says"]


@pytest.mark.parametrize("linear", [False, True])
def test_a_square_matrix_that_goes_back_untransposed_is_named(linear):
    def reference(x, W, b):
        z = torch.nn.functional.linear(x, W.T, b) if linear else x @ W + b
        return (z**3).sum()

    def hand(x, W, b):
        d = 3 * (x @ W + b) ** 2
        return {"x": d @ W, "W": x.T @ d, "b": d.sum(axis=0)}

    random = np.random.default_rng(0)
    inputs = dict(
        x=random.normal(size=(3, 4)), W=random.normal(size=(4, 4)), b=random.normal(size=4)
    )
    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, reference, **inputs)
    assert [found["mistake"] for found in error.value.diagnoses] == ["transposed-weights"]
    assert "right     W, b" in str(error.value)


def test_what_stays_the_same_along_an_axis_is_told_where_nothing_explains_it():
    def reference(x):
        weights = torch.arange(20.0).reshape(4, 5).double().exp2()
        return (torch.softmax(x, dim=1) * weights).sum() + (x**4).sum()

    x = np.random.default_rng(0).normal(size=(4, 5))
    right = 2.0 ** np.arange(20).reshape(4, 5)
    s = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    right = s * (right - (s * right).sum(axis=1, keepdims=True)) + 4 * x**3
    for wrong, says in (
        (right * np.array([[1.37], [2.91], [0.53], [4.71]]), "times"),
        (right + s.max(axis=1, keepdims=True), "plus"),
    ):
        with pytest.raises(GradientMismatch) as error:
            check_gradients(lambda x, wrong=wrong: {"x": wrong}, reference, x=x)
        assert error.value.diagnoses[0]["mistake"] == "unknown"
        told = f"yours is the right one {says} something that stays the same along axis 1"
        assert told in error.value.diagnoses[0]["says"]


def test_a_watched_gradient_that_nothing_explains_has_a_remedy_of_its_own():
    def reference(x):
        return (watch("s", x**2) * torch.arange(1.0, 4.0).double()).sum()

    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            lambda x: {"s": np.array([1.0, 5.0, 2.0])}, reference, x=np.array([0.5, 2.0, 3.0])
        )
    assert error.value.diagnoses[0]["remedy"].startswith("mark what is made of it")


def test_a_match_to_the_last_bit_and_a_gradient_out_of_reach_say_so():
    same = check_gradients(lambda x: {"x": np.ones(3)}, lambda x: x.sum(), x=np.arange(3.0))
    assert "Both sides are the same to the last bit." in str(same)
    assert "\nSmallest detectable error: 2e-15 of a value (typical). All 3 values" in str(same)

    def reference(x):
        return ((x * x).mean() - x.mean() ** 2) ** 2

    def hand(x):
        return {"x": 4 * ((x * x).mean() - x.mean() ** 2) * (x - x.mean()) / x.size}

    x = np.random.default_rng(0).normal(size=9) + 1e9
    blind = check_gradients(hand, reference, x=x)
    assert blind.verdict == "undecided"
    assert str(blind).startswith("undecided: rounding alone changes the gradient of x by more than")
    assert "\n9 of 9 values could not be judged: rounding alone could change them" in str(blind)
    assert "Smallest detectable error" not in str(blind)
    assert "\n  x: not known" in str(blind)


def test_the_cosine_of_a_huge_number_is_judged_exactly_as_inputs_are_not_moved():
    x = np.array([1e17, 3e17])
    result = check_gradients(lambda x: {"x": np.cos(x)}, lambda x: torch.sin(x).sum(), x=x)
    assert result.verdict == "match"
    assert result.resolution["worst"] < 1e-12


def test_a_factor_gets_the_cause_that_the_expression_has_and_no_other():
    def says(reference):
        with pytest.raises(GradientMismatch) as error:
            check_gradients(
                lambda x: {"x": 0.75 * (x - x.mean())}, reference, x=np.arange(1.0, 5.0)
            )
        return error.value.diagnoses[0]["says"]

    assert says(lambda x: ((x - x.mean()) ** 2).sum() / 2).endswith(
        "0.75 times the right one, which is (n − 1)/n for the length of axis 0 of x"
    )
    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            lambda x: {"x": 0.75 * x}, lambda x: (x**2).sum() / 2, x=np.arange(1.0, 5.0)
        )
    assert error.value.diagnoses[0]["says"].endswith("0.75 times the right one")


def spoiled(change):
    """A hand for LayerNorm with its gradients changed."""

    def hand(**given):
        gradients = LAYER_NORM.hand(**given)
        change(gradients)
        return gradients

    return hand


@pytest.mark.parametrize(
    ("quantity", "change", "mistake", "words"),
    [
        ("x", lambda g: g.update(x=-g["x"]), "sign-flipped", "minus the right one"),
        (
            "bias",
            lambda g: g.update(bias=g["bias"] / 6),
            "scaled-by-constant",
            "1 over the length of axis 0 of x",
        ),
        (
            "weight",
            lambda g: g.update(weight=2 * g["weight"]),
            "scaled-by-constant",
            "what a 2 too many makes",
        ),
        (
            "weight",
            lambda g: g.update(weight=g["weight"][None]),
            "wrong-shape",
            "has shape (1, 10); expected (10,)",
        ),
        ("x", lambda g: g.update(x=g["x"].T), "transposed-gradient", "transposed"),
        (
            "x",
            lambda g: g["x"].__setitem__((1, 2), np.nan),
            "unknown",
            "1 of 60 of yours are not finite",
        ),
        (
            "x_hat",
            lambda g: g.update(x_hat=0 * g["x_hat"]),
            "gradient-missing",
            "is zero everywhere",
        ),
    ],
)
def test_a_mistake_raises_and_is_named(quantity, change, mistake, words):
    given = LAYER_NORM.inputs(np.random.default_rng(2))
    with pytest.raises(GradientMismatch) as error:
        check_gradients(spoiled(change), LAYER_NORM.reference, **given)
    assert isinstance(error.value, AssertionError)
    assert error.value.first_mismatch["quantity"] == quantity
    assert error.value.diagnoses[0]["mistake"] == mistake
    assert words in error.value.diagnoses[0]["says"]
    assert words in str(error.value)


def test_one_element_wrong_by_a_part_in_a_billion_is_found():
    given = LAYER_NORM.inputs(np.random.default_rng(3))
    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            spoiled(lambda g: g["x"].__setitem__((3, 4), g["x"][3, 4] * (1 + 1e-9))),
            LAYER_NORM.reference,
            **given,
        )
    first = error.value.first_mismatch
    assert (first["index"], first["label"]) == ([3, 4], "x[3, 4]")
    assert first["difference"] > 100 * first["allowed"]


def test_first_is_in_the_order_in_which_hand_returns():
    given = LAYER_NORM.inputs(np.random.default_rng(3))
    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            lambda **g: {"bias": 0 * g["bias"], "x": 0 * g["x"]}, LAYER_NORM.reference, **given
        )
    assert error.value.first_mismatch["quantity"] == "bias"


def test_a_missing_sum_over_a_broadcast_axis_is_told():
    with pytest.raises(GradientMismatch, match="summed over axis 0 it is right"):
        check_gradients(
            lambda x, b: {"b": 2 * (x + b)},
            lambda x, b: ((x + b) ** 2).sum(),
            x=np.ones((3, 2)),
            b=np.ones(2),
        )


def test_tensors_and_integers_are_legal_and_an_input_may_be_unused():
    def hand(table, rows, unused):
        gradient = np.zeros_like(table)
        np.add.at(gradient, rows, 1)
        return {"table": torch.tensor(gradient)}

    rows = torch.tensor([0, 2, 2])
    result = check_gradients(
        hand,
        lambda table, rows, unused: table[rows].sum(),
        table=torch.ones(4, 3),
        rows=rows,
        unused=np.ones(2),
    )
    assert result.verdict == "match"


@pytest.mark.parametrize("returned", [np.float32, np.float64])
def test_a_hand_that_computes_in_float32_is_a_match_with_that_remark(returned):
    def hand(x):
        return {"x": (np.sin(x.astype(np.float32)) * 2).astype(returned)}

    def reference(x):
        return -2 * x.cos().sum()

    x = np.random.default_rng(0).normal(size=9)
    result = check_gradients(hand, reference, x=x)
    assert any("computed in float32" in remark for remark in result.remarks)
    assert result.resolution["typical"] > 1e-7
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": hand(x)["x"] * 1.001}, reference, x=x)


def test_a_gradient_that_is_only_rounded_to_float32_at_the_end_has_too_few_digits():
    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            {"x": np.cos(np.linspace(0, 1, 9)).astype(np.float32)},
            lambda x: x.sin().sum(),
            x=np.linspace(0, 1, 9),
        )
    assert error.value.diagnoses[0]["mistake"] == "single-precision"


def test_hand_is_called_with_the_dtype_given_and_no_other():
    kinds = set()

    def hand(x, y):
        kinds.add((x.dtype, y.dtype))
        return {"x": y * 2 * x}

    given = dict(x=np.ones(3, np.float32), y=np.float64(3) * np.ones(3))
    assert check_gradients(hand, lambda x, y: (y * x**2).sum(), **given).verdict == "match"
    assert kinds == {(np.dtype(np.float32), np.dtype(np.float64))}


def test_float32_inputs_are_judged_in_float32():
    def reference(x):
        return x.exp().sum()

    x = np.random.default_rng(0).normal(size=9).astype(np.float32)
    result = check_gradients(lambda x: {"x": np.exp(x)}, reference, x=x)
    assert 1e-7 < result.resolution["typical"] < 1e-5
    assert 0 < result.accuracy["x"]["hand"] < 1e-6  # from float64
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": np.exp(x) * np.float32(1.0001)}, reference, x=x)


def test_watch_outside_a_check_gives_the_tensor_back():
    tensor = torch.ones(2)
    assert watch("a", tensor) is tensor


ONES = np.ones(2)


def test_dropout_with_torchs_generator_is_the_same_in_every_draw():
    masks = []

    def reference(x):
        kept = torch.nn.functional.dropout(torch.ones_like(x), 0.5)
        masks.append(kept.numpy())
        return (x * kept).sum()

    result = check_gradients(lambda x: {"x": masks[0].astype(x.dtype)}, reference, x=np.ones(20))
    assert result.verdict == "match"
    assert set(masks[0]) == {0.0, 2.0}


def test_nan_on_both_sides_is_undecided_not_a_match():
    result = check_gradients(
        lambda x: {"x": np.full(2, np.nan)}, lambda x: (x - x).sqrt().sum(), x=np.ones(2)
    )
    assert result.verdict == "undecided"
    assert str(result).startswith("undecided: ")
    assert result.reasons == ["the gradient of x is not finite on both sides"]


def test_gradients_without_an_element_are_refused():
    with pytest.raises(ValueError, match="no element"):
        check_gradients(lambda x: {"x": np.zeros((0, 3))}, lambda x: x.sum(), x=np.zeros((0, 3)))


def test_without_a_floating_point_input_there_is_nothing_to_check():
    with pytest.raises(TypeError, match="no input holds floating-point numbers"):
        check_gradients(lambda x: {"x": x}, lambda x: x.sum(), x=np.ones(2, int))


def test_a_square_gradient_that_is_transposed_is_named():
    x = np.random.default_rng(0).normal(size=(3, 3))
    w = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda x: {"x": w.T}, lambda x: (w * x).sum(), x=x)
    assert error.value.diagnoses[0]["mistake"] == "transposed-gradient"


def test_a_shape_that_no_sum_makes_right_is_a_wrong_shape():
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda x: {"x": np.ones((3, 2))}, lambda x: (x**2).sum(), x=ONES)
    assert error.value.diagnoses[0]["mistake"] == "wrong-shape"
    assert "summed" not in str(error.value)


def test_a_gradient_where_the_right_one_is_zero_is_told_without_a_ratio():
    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            lambda x: {"x": np.array([1.0, 2.0, 0.0])}, lambda x: (0 * x).sum(), x=np.ones(3)
        )
    assert "2 of 3 elements differ" in str(error.value)
    assert "over the right one" not in str(error.value)


def test_a_single_input_of_one_element_has_no_usual_factors():
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda x: {"x": 3.7 * x}, lambda x: (x**2).sum(), x=np.ones((1, 1)))
    assert error.value.diagnoses[0]["mistake"] == "unknown"


def test_a_hand_that_returns_other_shapes_at_a_second_call_is_refused():
    calls = []

    def hand(x):
        calls.append(x)
        return {"x": 2 * x} if len(calls) == 1 else {"x": np.zeros(3)}

    with pytest.raises(ValueError, match="hand gives different shapes when it is called twice"):
        check_gradients(hand, lambda x: (x**2).sum(), x=ONES)


def test_a_matrix_whose_numbers_run_by_columns_is_transposed():
    w = np.arange(1.0, 7.0).reshape(2, 3)
    with pytest.raises(GradientMismatch) as error:
        check_gradients(
            lambda x: {"x": w.T.reshape(2, 3)},
            lambda x: (torch.tensor(w) * x).sum(),
            x=np.ones((2, 3)),
        )
    assert error.value.diagnoses[0]["mistake"] == "transposed-gradient"
    assert "read column by column, are right" in error.value.diagnoses[0]["says"]


def test_difference_quotients_to_one_side_are_named_with_their_width():
    def backward(x, h=1e-3):
        return {"x": (np.sin(x) - np.sin(x - h)) / h}

    with pytest.raises(GradientMismatch) as error:
        check_gradients(backward, lambda x: x.sin().sum(), x=np.linspace(0, 1, 7))
    assert error.value.diagnoses[0]["mistake"] == "finite-differences"
    assert "one-sided, of width 0.001" in error.value.diagnoses[0]["says"]


def test_a_reference_that_refuses_moved_inputs_leaves_the_facts():
    def reference(x):
        if (x > 1.001).any():
            raise ArithmeticError("too large")
        return x.exp().sum()

    with pytest.raises(GradientMismatch, match="unknown: 7 of 7 elements differ"):
        check_gradients(lambda x: {"x": np.exp(x) + x + 1}, reference, x=np.linspace(0, 1, 7))


class Rough(torch.autograd.Function):
    """x², whose gradient is only right in float64."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, given):
        (x,) = ctx.saved_tensors
        return 2 * x * given * (1.001 if x.dtype == torch.float32 else 1)


def test_what_is_right_by_the_gradient_in_float64_is_right_though_pytorchs_float32_is_not():
    x = np.linspace(1, 2, 5, dtype=np.float32)
    result = check_gradients(lambda x: {"x": 2 * x}, lambda x: Rough.apply(x).sum(), x=x)
    assert any("PyTorch's gradient loses digits" in remark for remark in result.remarks)
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": 2.002 * x * 1.001}, lambda x: Rough.apply(x).sum(), x=x)


def test_zeros_for_an_input_without_an_effect_are_right():
    zeros = check_gradients(
        lambda x, w: {"x": np.ones(2), "w": np.zeros(3)}, lambda x, w: x.sum(), x=ONES, w=np.ones(3)
    )
    assert zeros.verdict == "match"
    with pytest.raises(ValueError, match="'w', which reference does not depend on"):
        check_gradients(
            lambda x, w: {"x": np.ones(2), "w": np.ones(3)}, lambda x, w: x.sum(), x=ONES, w=ONES
        )
