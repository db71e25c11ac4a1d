"""check_gradients: what is legal in a reference or a hand, and what is refused in a sentence."""

import random as python_random
import traceback

import numpy as np
import pytest
import torch

from lockstep import GradientMismatch, check_function, check_gradients, watch

X = np.random.default_rng(0).normal(size=(3, 4))
ATEN = torch.ops.aten
GENERATOR = torch.Generator().manual_seed(1)


def in_place(x):
    y = x * 2
    y += 1
    y.mul_(y.clone())
    y[0] = 0
    return y.sum()


def by_views(x):
    left, right = x.view(2, 6).T.chunk(2, dim=1)
    return (left[::2] * right[1::2]).sum() + x.diagonal().prod()


def by_branches(x):
    y = x
    while y.norm() < 100:
        y = y * 2 if y.sum() > 0 else -3 * y
    return (y**2).sum()


def partly_constant(x):
    with torch.no_grad():
        scale = x.abs().max()
    return (x / scale).pow(3).sum() + (x.detach() * x).sum()


def used_twice(x):
    return (x @ x.T).sum() + x.tanh().sum()


def d_in_place(x):
    d = 4 * (2 * x + 1)
    d[0] = 0
    return d


def d_by_views(x):
    d = np.zeros_like(x)
    flat, x_flat = d.reshape(-1), x.reshape(-1)
    for i in range(0, 6, 2):
        flat[i], flat[7 + i] = x_flat[7 + i], x_flat[i]
    diagonal = x.diagonal()
    for i in range(3):
        d[i, i] += np.prod(np.delete(diagonal, i))
    return d


def d_by_branches(x):
    y, factor = x, 1
    while np.linalg.norm(y) < 100:
        step = 2 if y.sum() > 0 else -3
        y, factor = step * y, factor * step
    return 2 * y * factor


def d_partly_constant(x):
    return 3 * x**2 / np.abs(x).max() ** 3 + x


def d_used_twice(x):
    return 2 * x.sum(axis=0) + 1 - np.tanh(x) ** 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "gradient"),
    [
        (in_place, d_in_place),
        (by_views, d_by_views),
        (by_branches, d_by_branches),
        (partly_constant, d_partly_constant),
        (used_twice, d_used_twice),
    ],
)
def test_references_that_work_in_place_by_views_branches_or_without_grad_are_legal(
    reference, gradient
):
    result = check_gradients(lambda x: {"x": gradient(x)}, reference, x=X)
    assert result.verdict == "match"
    assert result.resolution["typical"] < 1e-11
    with pytest.raises(GradientMismatch):
        check_gradients(lambda x: {"x": gradient(x) * (1 + 1e-9)}, reference, x=X)


def test_a_hand_may_work_in_place_too():
    def hand(x):
        x *= 2
        return {"x": x}

    given = X.copy()
    assert check_gradients(hand, lambda x: (x**2).sum(), x=given).verdict == "match"
    assert (given == X).all()


def test_booleans_and_indices_are_passed_on():
    def reference(x, kept, rows):
        return (x[rows] * 2).masked_fill(~kept, 0).sum()

    def hand(x, kept, rows):
        d = np.zeros_like(x)
        np.add.at(d, rows, 2 * kept)
        return {"x": d}

    rows = np.array([0, 2, 2])
    kept = X[rows] > 0
    assert check_gradients(hand, reference, x=X, kept=kept, rows=rows).verdict == "match"


def test_a_reference_that_seeds_itself_is_the_same_in_every_draw():
    def noise(kind):
        return (
            torch.randn(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
            .numpy()
            .astype(kind)
        )

    def reference(x):
        return (x * torch.from_numpy(noise(np.float64))).sum()

    assert check_gradients(lambda x: {"x": noise(x.dtype)}, reference, x=X).verdict == "match"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: np.random.default_rng().random(),
        python_random.random,
        lambda: torch.rand((), generator=GENERATOR),
    ],
)
def test_random_numbers_that_are_not_the_same_in_every_call_are_refused(draw):
    with pytest.raises(
        ValueError,
        match="different gradients when it is called again.*draw random numbers with torch",
    ):
        check_gradients(lambda x: {"x": x}, lambda x: (x * draw()).sum(), x=X)


def test_a_gradient_that_only_some_calls_have_is_refused():
    calls = []

    def reference(x, b):
        calls.append(1)
        return (x**2).sum() + (b.sum() if len(calls) < 3 else 0)

    with pytest.raises(ValueError, match="reference gives different gradients when it is called"):
        check_gradients(
            lambda x, b: {"x": 2 * x, "b": np.ones_like(b)}, reference, x=X, b=np.ones(2)
        )


def square(x):
    return {"x": 2 * x}


def trap(x):
    """The derivative by the branch that is left out is infinite, and zero times that is NaN."""
    return torch.where(x > 0.5, x.sqrt(), x * 0).sum()


def d_trap(x):
    return {"x": np.where(x > 0.5, 0.5 / np.sqrt(np.maximum(x, 0.5)), 0.0)}


def spoiled_in_place(x):
    y = x.exp()
    loss = (y * y).sum()
    y.add_(1)
    return loss


ONES, WHOLE, ANY = np.ones(2), np.ones(2, int), np.random.default_rng()


@pytest.mark.parametrize(
    ("hand", "reference", "inputs", "words"),
    [
        (square, lambda x: x**2, {"x": ONES}, "a tensor of shape (2,); expected a scalar tensor"),
        (square, lambda x: 3.0, {"x": ONES}, "float; expected a scalar tensor"),
        (square, lambda x: torch.tensor(1.0), {"x": ONES}, "does not depend on the inputs"),
        (
            square,
            lambda x: (x > 0).sum(),
            {"x": ONES},
            "a tensor of torch.int64; expected a floating-point one",
        ),
        (square, lambda x: x.argmax() * 1.0, {"x": ONES}, "does not depend on the inputs"),
        (square, lambda x: x.detach().sum(), {"x": ONES}, "does not depend on the inputs"),
        (square, lambda x: None, {"x": ONES}, "NoneType; expected a scalar tensor"),
        (square, lambda x: x @ x[:1], {"x": ONES}, "reference raised RuntimeError"),
        (square, lambda y: y.sum(), {"x": ONES}, "reference raised TypeError"),
        (square, lambda x: x.mul_(2).sum(), {"x": ONES}, "changes its input 'x' in place"),
        (
            lambda x, i: {"x": x},
            lambda x, i: (x * i.add_(1)).sum(),
            {"x": ONES, "i": WHOLE},
            "changes its input 'i'",
        ),
        (
            square,
            spoiled_in_place,
            {"x": ONES},
            "the differentiation of reference raised RuntimeError",
        ),
        (
            square,
            lambda x: (x - 1).sqrt().sum(),
            {"x": ONES},
            "not differentiable there: PyTorch's gradient of x is inf",
        ),
        (d_trap, trap, {"x": np.array([0.0, 1.0])}, "gradient of x is nan at x[0], yours 0.0"),
        (
            lambda x, u: {"u": u},
            lambda x, u: x.sum(),
            {"x": ONES, "u": ONES},
            "'u', which reference does not depend on",
        ),
        (
            lambda x: 1 / 0,
            lambda x: x.sum(),
            {"x": ONES},
            "hand raised ZeroDivisionError: division by zero (line",
        ),
        (lambda y: {}, lambda x: x.sum(), {"x": ONES}, "hand raised TypeError"),
        (lambda x: x, lambda x: x.sum(), {"x": ONES}, "hand returned ndarray; expected a dict"),
        (
            lambda x: {"x": [1, None]},
            lambda x: x.sum(),
            {"x": ONES},
            "hand returned list for 'x'; expected real numbers",
        ),
        (
            lambda x, i: {"i": x},
            lambda x, i: x.sum(),
            {"x": ONES, "i": ONES > 0},
            "'i', which holds booleans",
        ),
        (
            square,
            lambda x: x.sum(),
            {"x": 1j * ONES},
            "a tensor of torch.complex128; expected a floating-point one",
        ),
        (square, lambda x: x.sum(), {"x": [[1.0], [1.0, 2.0]]}, "input 'x' is no array"),
        (square, lambda x: x.sum(), {"x": torch.ones(2).to_sparse()}, "no input holds floating"),
        (lambda x: None, lambda x: x.sum(), {"x": ONES}, "hand returned nothing; expected a dict"),
        (lambda x: {}, lambda x: x.sum(), {"x": ONES}, "an empty dict"),
        (
            lambda x: {"z": x},
            lambda x: x.sum(),
            {"x": ONES},
            "hand returned 'z'; expected the name of an input or of what",
        ),
        (
            lambda x, i: {"i": x},
            lambda x, i: x.sum(),
            {"x": ONES, "i": WHOLE},
            "'i', which holds integers",
        ),
        (
            lambda x: {"x": 1j * x},
            lambda x: x.sum(),
            {"x": ONES},
            "complex128 for 'x'; expected real numbers",
        ),
        (
            square,
            lambda x: (x**2).sum(),
            {"x": np.array([1.0, np.nan])},
            "input 'x' has a value that is not finite",
        ),
        (
            square,
            lambda x: (x**2).sum(),
            {"x": np.array(["a"])},
            "no input holds floating-point numbers",
        ),
        (
            square,
            lambda x: (x * ANY.random()).sum(),
            {"x": ONES},
            "draw random numbers with torch",
        ),
        (square, lambda x: watch("x", x * 2).sum(), {"x": ONES}, "'x' is the name of an input"),
        (square, lambda x: watch("a", watch("a", x)).sum(), {"x": ONES}, "'a' is used twice"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(hand, reference, inputs, words):
    with pytest.raises((ValueError, TypeError)) as error:
        check_gradients(hand, reference, **inputs)
    assert words in str(error.value)
    assert not isinstance(error.value, AssertionError)


def test_errors_of_the_users_code_show_its_frames_and_none_of_ours():
    def hand(x):
        return {"x": x[7]}

    with pytest.raises(
        ValueError, match=r"hand raised IndexError: .* \(line \d+ of test_check_references.py\)"
    ) as error:
        check_gradients(hand, lambda x: x.sum(), x=X)
    cause = error.value.__cause__
    assert isinstance(cause, IndexError)
    assert [frame.name for frame in traceback.extract_tb(cause.__traceback__)] == ["hand"]
    ours = [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]
    assert ours[1:] == ["check_gradients"]


def test_a_mismatch_shows_one_frame_of_ours_and_pytest_hides_that(pytester_text):
    assert "first x[0, 0]" in pytester_text
    assert "in float32" not in pytester_text
    assert "lockstep/check.py" not in pytester_text
    assert "__tracebackhide__" not in pytester_text


@pytest.fixture
def pytester_text(tmp_path, capsys):
    file = tmp_path / "test_mine.py"
    file.write_text(
        "import numpy as np\nfrom lockstep import check_gradients\n\n"
        "def test_mine():\n"
        "    x = np.ones((2, 2))\n"
        "    check_gradients(lambda x: {'x': -2 * x}, lambda x: (x**2).sum(), x=x)\n"
    )
    assert pytest.main([str(file), "-n0", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]) == 1
    return capsys.readouterr().out


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale, power):
        ctx.save_for_backward(x, scale)
        ctx.wrong = Cube.wrong
        return scale * x**3 + Cube.off

    @staticmethod
    def backward(ctx, given):
        x, scale = ctx.saved_tensors
        return (
            given * 3 * scale * x**2 * (2 if ctx.wrong else 1),
            (given * x**3).sum(0, keepdim=True),
            None,
        )


def cube(x, scale, power):
    return scale * x**power


@pytest.mark.parametrize(
    ("wrong", "off", "quantity", "mistake"),
    [
        (False, 0, None, None),
        (True, 0, "x", "scaled-by-constant"),
        (False, 1e-9, "output", "unknown"),
    ],
)
def test_a_function_is_checked_in_one_line_backward_and_forward(wrong, off, quantity, mistake):
    Cube.wrong, Cube.off = wrong, off
    inputs = dict(x=torch.tensor(X), scale=torch.ones(1, 4, dtype=torch.float64), power=3)
    if quantity is None:
        result = check_function(Cube, cube, **inputs)
        assert (result.verdict, list(result.accuracy)) == ("match", ["output", "x", "scale"])
        return
    with pytest.raises(GradientMismatch) as error:
        check_function(Cube, cube, **inputs)
    assert (error.value.first_mismatch["quantity"], error.value.diagnoses[0]["mistake"]) == (
        quantity,
        mistake,
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_a_function_of_narrow_inputs_is_judged_in_float32(kind):
    Cube.wrong, Cube.off = False, 0
    given = dict(x=torch.tensor(X, dtype=kind), scale=torch.ones(1, 4, dtype=kind), power=3)
    result = check_function(Cube, cube, **given)
    unit = torch.finfo(torch.float32).eps
    assert unit < result.resolution["typical"] < 200 * unit
    Cube.wrong = True
    with pytest.raises(GradientMismatch):
        check_function(Cube, cube, **given)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (lambda x, scale, power: x.sum(), "shape"),
        (lambda x: x, "reference raised TypeError"),
    ],
)
def test_a_reference_that_does_not_fit_the_function_is_told(reference, words):
    Cube.wrong, Cube.off = False, 0
    with pytest.raises((ValueError, TypeError, GradientMismatch), match=words):
        check_function(Cube, reference, x=X, scale=np.ones((1, 4)), power=3)


class Pair(torch.autograd.Function):
    """x · 2 and the sum of k powers of x; it knows float32 alone."""

    @staticmethod
    def forward(ctx, x, k):
        assert isinstance(k, int)
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        ctx.save_for_backward(x)
        ctx.k = k
        return 2 * x, sum(x**i for i in range(1, k + 1)).sum(dim=1)

    @staticmethod
    def backward(ctx, twice, powers):
        (x,) = ctx.saved_tensors
        return 2 * twice + powers[:, None] * sum(
            i * x ** (i - 1) for i in range(1, ctx.k + 1)
        ), None


def pair(x, k):
    return 2 * x, sum(x**i for i in range(1, int(k) + 1)).sum(dim=1)


class Product(torch.autograd.Function):
    gradients = 2

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, given):
        x, w = ctx.saved_tensors
        return (given * w, None if Product.gradients == 2 else given * x)[: Product.gradients or 1]


def test_a_gradient_that_a_function_leaves_out_is_missing_and_what_is_right_is_listed():
    Product.gradients = 2
    with pytest.raises(GradientMismatch) as error:
        check_function(
            Product, lambda x, w: x * w, w=X + 1, x=X
        )  # by name: forward has them the other way round
    assert error.value.first_mismatch["quantity"] == "w"
    assert error.value.diagnoses[0]["mistake"] == "gradient-missing"
    assert str(error.value).endswith("right     output, x")
    Product.gradients = 3
    assert check_function(Product.apply, lambda x, w: x * w, x=X, w=X + 1).verdict == "match"


def test_an_error_inside_torch_shows_none_of_its_frames():
    Product.gradients = 0
    with pytest.raises(
        ValueError, match="the function raised RuntimeError: .*incorrect number of gradients"
    ) as error:
        check_function(Product, lambda x, w: x * w, x=X, w=X + 1)
    assert error.value.__cause__.__traceback__ is None


def test_the_factors_of_a_square_count_together():
    def hand(x):
        r = 1 / np.sqrt((x * x).mean(axis=1, keepdims=True))
        return {"x": r - r**3 * x * x.sum(axis=1, keepdims=True)}  # a sum in place of a mean

    def reference(x):
        return (x / (x * x).mean(1, keepdim=True).sqrt()).sum()

    with pytest.raises(GradientMismatch) as error:
        check_gradients(hand, reference, x=np.random.default_rng(0).normal(size=(3, 5)))
    assert "`mean` in test_check_references.py" in error.value.diagnoses[0]["says"]


def test_a_function_with_two_outputs_that_knows_only_float32_is_judged_at_that_precision():
    result = check_function(Pair, pair, x=torch.tensor(X, dtype=torch.float32), k=3)
    assert (result.verdict, list(result.accuracy)) == ("match", ["output_0", "output_1", "x"])
    assert 1e-7 < result.resolution["typical"] < 1e-4
    with pytest.raises(TypeError, match="the function raised TypeError: float32 only"):
        check_function(Pair, pair, x=X, k=3)


@pytest.mark.slow
def test_a_reference_too_long_to_be_edited_is_looked_at_by_its_ways():
    def reference(x):
        y = x
        for _ in range(600):
            y = y * 1.001
        return (y * x).sum()

    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda x: {"x": x * 1.001**600}, reference, x=X)  # half of 2 x 1.001^600
    assert error.value.diagnoses[0]["mistake"] in ("term-missing", "scaled-by-constant")


def unnamed(hand, reference, x=X):
    """What is reported of a mistake that nothing explains."""
    with pytest.raises(GradientMismatch, match="unknown: 12 of 12 elements differ") as error:
        check_gradients(hand, reference, x=x)
    assert error.value.diagnoses[0]["says"] in str(error.value)
    return error.value.diagnoses[0]["says"]


def off_by_one(x):
    """The gradient of Σ x² + sin x, with 1 in place of cos x."""
    return {"x": 2 * x + 1}


def squares_and_sines(x):
    return (x**2 + x.sin()).sum()


def test_a_version_of_torch_that_lacks_a_fused_operation_names_mistakes_all_the_same(monkeypatch):
    class Fewer:
        def __getattr__(self, name):
            if name in ("_fused_rms_norm", "_safe_softmax"):
                raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")
            return getattr(ATEN, name)

    monkeypatch.setattr(torch.ops, "aten", Fewer())
    with pytest.raises(GradientMismatch, match="missing-activation-derivative: the derivative of"):
        check_gradients(off_by_one, squares_and_sines, x=X)


def test_an_error_of_ours_in_naming_leaves_the_verdict_and_is_reported(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a fault of the referee")

    monkeypatch.setattr("lockstep.gradients.quotients._by_grid", broken)
    says = unnamed(lambda x: {"x": x + np.exp(x)}, squares_and_sines)
    assert "ZeroDivisionError: a fault of the referee" in says


class Clash(torch.autograd.Function):
    """x · y, of inputs with names that the check uses itself."""

    wrong = 1

    @staticmethod
    def forward(ctx, output, function, reference):
        ctx.save_for_backward(output, function, reference)
        return output * function * reference

    @staticmethod
    def backward(ctx, given):
        output, function, reference = ctx.saved_tensors
        return (
            given * function * reference * Clash.wrong,
            given * output * reference,
            given * output * function,
        )


def test_inputs_may_be_called_as_what_the_check_names_itself():
    def reference(output, function, reference):
        return output * function * reference

    inputs = dict(output=X, function=X + 1, reference=X + 2)
    result = check_function(Clash, reference, **inputs)
    assert list(result.accuracy) == ["output_", "output", "function", "reference"]
    Clash.wrong = 3
    with pytest.raises(GradientMismatch) as error:
        check_function(Clash, reference, **inputs)
    assert error.value.first_mismatch["quantity"] == "output"
    assert str(error.value).endswith("right     output_, function, reference")


def test_one_of_several_outputs_whose_name_an_input_has_gets_another():
    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx, output_1):
            return output_1 * 2, output_1 * 3

        @staticmethod
        def backward(ctx, twice, thrice):
            return 2 * twice + 3 * thrice

    result = check_function(Two, lambda output_1: (2 * output_1, 3 * output_1), output_1=X)
    assert list(result.accuracy) == ["output_0", "output_1_", "output_1"]


def test_a_function_whose_reference_gives_no_tensor_is_refused():
    with pytest.raises(TypeError, match="reference gives float; expected a tensor, or several"):
        check_function(torch.sigmoid, lambda x: 1.0, x=np.ones(2))


def test_a_gradient_is_named_also_where_float32_overflows():
    x = np.array([1e20, 2e20, -3e20])
    with pytest.raises(GradientMismatch) as error:
        check_gradients(lambda x: {"x": 6 * x * x}, lambda x: (x * x * x).sum(), x=x)
    assert error.value.diagnoses[0]["mistake"] == "scaled-by-constant"


def test_a_side_that_loses_everything_in_a_tail_gets_that_remark():
    def stable(x):
        e = np.exp(-np.abs(x))
        return {"x": e / (1 + e) ** 2}

    result = check_gradients(stable, lambda x: torch.sigmoid(x).sum(), x=np.array([0.0, 40.0]))
    assert any("in a tail" in remark for remark in result.remarks)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"rtol": -1}, "rtol is -1; expected a finite number, 0 or more"),
        ({"atol": np.inf}, "atol is inf; expected a finite number"),
        ({"atol": "1e-6"}, "atol is '1e-6'; expected"),
        ({"time_limit": None}, "time_limit is None; expected a finite number"),
        ({"seed": -1}, "seed is -1; expected a whole number, 0 or more"),
        ({"seed": True}, "seed is True; expected a whole number"),
        ({"seed": 1.5}, "seed is 1.5; expected a whole number"),
        ({"device": "gpu"}, "device 'gpu' can't be used: "),
        ({"device": "meta:x"}, "device 'meta:x' can't be used: "),
        ({"device": 1.5}, "device 1.5 can't be used: "),
        ({"rtoll": 1e-3}, "'rtoll' is no option and no argument of reference; did you mean 'rtol'"),
        ({"time_limits": 1}, "did you mean 'time_limit'"),
        ({"Seed": 1}, "did you mean 'seed'"),
    ],
)
def test_options_that_cannot_be_used_or_do_not_exist_are_told(option, words):
    with pytest.raises((ValueError, TypeError)) as error:
        check_gradients(square, lambda x: (x**2).sum(), x=ONES, **option)
    assert words in str(error.value)


@pytest.mark.parametrize("option", [{"seed": 3}, {"time_limit": 0}, {"device": "cpu"}])
def test_options_change_no_verdict(option):
    assert check_gradients(square, lambda x: (x**2).sum(), x=X, **option).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(square, lambda x: (x**3).sum(), x=X, **option)


def test_what_is_not_diagnosed_is_reported_all_the_same():
    with pytest.raises(GradientMismatch, match="12 of 12 elements differ") as error:
        check_gradients(square, lambda x: x.sum(), x=X, diagnose=False)
    assert error.value.diagnoses == []
    assert error.value.first_mismatch["label"] == "x[0, 0]"


def test_an_input_may_have_the_name_of_an_option():
    def reference(seed, rtol, atol=2.0):
        return (seed**2).sum() * rtol * atol

    def hand(seed, rtol, atol=2.0):
        return {"seed": 2 * seed * rtol * atol, "rtol": (seed**2).sum() * atol}

    result = check_gradients(hand, reference, seed=X, rtol=np.array(3.0))
    assert list(result.accuracy) == ["seed", "rtol"]
    assert check_gradients(hand, reference, seed=X, rtol=3.0, atol=5.0).verdict == "match"
    with pytest.raises(GradientMismatch):
        check_gradients(lambda seed, rtol: {"seed": seed}, reference, seed=X, rtol=3.0)


@pytest.mark.parametrize("name", ["rtols", "Seed", "x"])
def test_a_reference_that_takes_any_name_gets_what_looks_like_an_option(name):
    def reference(**given):
        return (given[name] ** 2).sum()

    result = check_gradients(lambda **given: {name: 2 * given[name]}, reference, **{name: X})
    assert result.verdict == "match"


def test_a_reference_without_a_signature_is_legal():
    result = check_gradients(lambda input: {"input": np.ones((3, 4))}, torch.sum, input=X)
    assert result.verdict == "match"


@pytest.mark.parametrize(("factor", "right"), [(2, True), (2.001, False)])
def test_numbers_that_were_computed_elsewhere_are_checked(factor, right):
    numbers = {"x": (factor * X).tolist()}
    if right:
        assert check_gradients(numbers, lambda x: (x**2).sum(), x=X).verdict == "match"
        return
    with pytest.raises(GradientMismatch, match=r"2.001|1.0005"):
        check_gradients(numbers, lambda x: (x**2).sum(), x=X)


@pytest.mark.parametrize(("hand", "kind"), [(X, "ndarray"), (None, "NoneType"), ("x", "str")])
def test_a_hand_that_is_neither_a_function_nor_a_dict_is_refused(hand, kind):
    with pytest.raises(TypeError, match=f"hand is {kind}; expected a function, or a dict"):
        check_gradients(hand, lambda x: (x**2).sum(), x=X)


@pytest.mark.parametrize("by", [1.0, 1.1])
def test_of_a_module_only_the_gradient_of_an_intermediate_may_be_checked(by):
    layer = torch.nn.Linear(4, 2, dtype=torch.float64)

    def reference(x):
        return (layer(watch("s", 2 * x)) ** 2).sum()

    def hand(x):
        W, b = (p.detach().numpy() for p in layer.parameters())
        return {"s": by * 2 * (2 * x @ W.T + b) @ W}

    if by == 1:
        assert check_gradients(hand, reference, x=X).verdict == "match"
        return
    with pytest.raises(GradientMismatch, match="s: mismatch"):
        check_gradients(hand, reference, x=X)


class Unsayable(Exception):
    def __str__(self):
        raise KeyError("no message")


def unsayable(x):
    raise Unsayable


@pytest.mark.parametrize(
    ("hand", "reference", "who"),
    [(unsayable, lambda x: x.sum(), "hand"), (lambda x: {"x": x}, unsayable, "reference")],
)
def test_an_exception_whose_message_raises_is_the_users(hand, reference, who):
    words = rf"^{who} raised Unsayable: \(its message cannot be shown\) \(line \d+ of test_check_"
    with pytest.raises(ValueError, match=words):
        check_gradients(hand, reference, x=ONES)


async def later(x):
    return {"x": x}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("hand", "reference", "who"),
    [(later, lambda x: x.sum(), "hand"), (lambda x: {"x": x}, later, "reference")],
)
def test_an_async_function_is_refused_in_one_sentence_and_without_a_warning(hand, reference, who):
    with pytest.raises(TypeError, match=f"^{who} is an async function; expected one without async"):
        check_gradients(hand, reference, x=ONES)
