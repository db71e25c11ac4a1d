"""check_function and check_layer: all ways in which PyTorch may call a backward."""

import collections

import numpy as np
import pytest
import torch
from torch.autograd.function import once_differentiable

from lockstep import GradientMismatch, check_function, check_gradients, check_layer

RANDOM = np.random.default_rng(0)
X, W = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(3, 4))
F = torch.autograd.Function


def function(forward, backward, **more):
    """A Function from its parts."""
    parts = {"forward": forward, "backward": backward} | more
    return type("Made", (F,), {name: staticmethod(part) for name, part in parts.items()})


def keep(compute):
    """A forward that saves its tensors. compute: its result from them."""

    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return compute(x, w)

    return forward


def d_product(ctx, g):
    x, w = ctx.saved_tensors
    return g * w, g * x


def product(x, w):
    return x * w


PRODUCT = keep(product)


def mistake(check, *args, **kwargs):
    """The first diagnosis of a check, which must fail."""
    with pytest.raises(GradientMismatch) as error:
        check(*args, **kwargs)
    return error.value.diagnoses[0]


def overwrites_incoming(ctx, g):
    x, w = ctx.saved_tensors
    d_x = g * w
    g.mul_(x)
    return d_x, g


def overwrites_input(ctx, g):
    x, w = ctx.saved_tensors
    d = g * w, g * x
    x.data.zero_()
    return d


def reads_memory(ctx, g):
    """As C code does: numbers in their order in memory."""
    x, w = ctx.saved_tensors
    plain = torch.as_strided(g, g.shape, w.stride()) if g.stride() != w.stride() else g
    return plain * w, plain * x


def views(ctx, g):
    x, w = ctx.saved_tensors
    return g.view(-1).view(g.shape) * w, g * x


def needs_both(ctx, g):
    x, w = ctx.saved_tensors
    if all(ctx.needs_input_grad):
        return g * w, g * x
    return g * w * 2 if ctx.needs_input_grad[0] else None, g * x if ctx.needs_input_grad[
        1
    ] else None


def fails_alone(ctx, g):
    x, w = ctx.saved_tensors
    assert all(ctx.needs_input_grad), "both"
    return g * w, g * x


def saves_what_it_needs(ctx, g):
    x, w = ctx.saved_tensors
    needs_x, needs_w = ctx.needs_input_grad
    return g * w if needs_x else None, g * x if needs_w else None


def overwrites_input_alone(ctx, g):
    d = d_product(ctx, g)
    if not all(ctx.needs_input_grad):
        ctx.saved_tensors[0].data.zero_()
    return d


def overwrites_input_expanded(ctx, g):
    d = d_product(ctx, g)
    if g.stride() == (0, 0):
        ctx.saved_tensors[0].data.zero_()
    return d


@pytest.mark.parametrize(
    ("backward", "name", "words"),
    [
        (overwrites_incoming, "input-changed", "backward overwrites the incoming gradient"),
        (overwrites_input, "input-changed", "backward overwrites the input x"),
        (overwrites_input_expanded, "input-changed", "backward overwrites the input x"),
        (overwrites_input_alone, "input-changed", "backward overwrites the input x"),
        (reads_memory, "strides", "is expanded, as from a plain sum"),
        (views, "strides", "backward raises RuntimeError for an incoming gradient of output"),
        (needs_both, "needs-input-grad", "the gradient of x is wrong where no other input"),
        (fails_alone, "needs-input-grad", "raises AssertionError (both)"),
    ],
)
def test_each_extra_check_of_a_function_finds_its_mistake(backward, name, words):
    found = mistake(check_function, function(PRODUCT, backward), product, x=X, w=W)
    assert found["mistake"] == name
    assert words in found["says"]


@pytest.mark.parametrize("backward", [d_product, saves_what_it_needs])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_function_without_these_mistakes_is_a_match(backward, kind):
    inputs = dict(x=X.astype(kind), w=W.astype(kind))
    result = check_function(function(PRODUCT, backward), product, **inputs)
    assert (result.verdict, list(result.accuracy)) == ("match", ["output", "x", "w"])
    assert result.remarks == []


def test_a_forward_that_overwrites_its_input_is_a_mistake_unless_it_marks_it():
    def forward(ctx, x, w):
        x.mul_(w)
        ctx.save_for_backward(w)
        return x.clone()

    def marked(ctx, x, w):
        ctx.mark_dirty(x)
        ctx.save_for_backward(w)
        return x.mul_(w)

    def backward(ctx, g):
        return g * ctx.saved_tensors[0], None

    w = torch.tensor(W)
    x = torch.tensor(X, requires_grad=True)
    found = mistake(check_function, function(forward, backward), product, x=x, w=w)
    assert found["mistake"] == "input-changed"
    assert found["says"] == "forward overwrites the input x"
    result = check_function(function(marked, backward), product, x=x, w=w)
    assert list(result.accuracy) == ["output", "x"]  # only what requires a gradient


def test_an_output_of_another_shape_is_named():
    made = function(keep(lambda x, w: (x * w)[None]), lambda ctx, g: d_product(ctx, g[0]))
    found = mistake(check_function, made, product, x=X, w=W)
    assert found["mistake"] == "wrong-shape"
    assert "output has shape (1, 3, 4); the reference gives (3, 4)" in found["says"]


def two(x, w):
    return x * w, x + w


def d_two(ctx, g, h):
    x, w = ctx.saved_tensors
    return g * w + h, g * x + h


def d_two_with_none(ctx, g, h):
    x, w = ctx.saved_tensors
    d = [torch.zeros_like(x), torch.zeros_like(w)]
    for i, (one, factor) in enumerate(((g, w), (g, x))):
        d[i] += 0 if one is None else one * factor
        d[i] += 0 if h is None else h
    return tuple(d)


def without_zeros(ctx, x, w):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, w)
    return two(x, w)


def d_two_but_none_is_one(ctx, g, h):
    return d_two(ctx, 1 if g is None else g, 0 if h is None else h)


@pytest.mark.parametrize(
    ("forward", "backward", "words"),
    [
        (keep(two), d_two, ""),
        (without_zeros, d_two_with_none, ""),
        (without_zeros, d_two, "backward raises TypeError for an incoming gradient of output_0 th"),
        (without_zeros, d_two_but_none_is_one, "where the incoming gradient of output_0 is None"),
    ],
)
def test_an_output_that_is_not_used_may_have_none_for_a_gradient(forward, backward, words):
    made = function(forward, backward)
    if not words:
        result = check_function(made, two, x=X, w=W)
        assert list(result.accuracy) == ["output_0", "output_1", "x", "w"]
        return
    found = mistake(check_function, made, two, x=X, w=W)
    assert found["mistake"] == "incoming-gradient-none"
    assert words in found["says"]


def test_none_and_zeros_are_the_same_gradient():
    def forward(ctx, x, w, shape):
        ctx.set_materialize_grads(False)
        return 2 * x.reshape(shape), 3 * w

    def backward(ctx, g, h):
        return (
            None if g is None else 2 * g.reshape(3, 4),
            backward.zero if h is None else 3 * h,
            None,
        )

    inputs = dict(x=X, w=W, shape=(4, 3))
    made, backward.zero = function(forward, backward), None
    reference = lambda x, w, shape: (2 * x.reshape(shape), 3 * w)  # noqa: E731
    assert check_function(made, reference, **inputs).verdict == "match"
    backward.zero = torch.ones(3, 4, dtype=torch.float64)
    assert mistake(check_function, made, reference, **inputs)["quantity"] == "w"


def twice_right(ctx, g):
    return d_product(ctx, g)


def twice_cut(ctx, g):
    x, w = ctx.saved_tensors
    return g * w.detach(), g * x


def twice_lost(ctx, g):
    return tuple(d.detach() for d in d_product(ctx, g))


def twice_wrong(ctx, g):
    return Inner.apply(g, ctx.saved_tensors[1]), g * ctx.saved_tensors[0]


class Inner(F):
    @staticmethod
    def forward(ctx, g, w):
        ctx.save_for_backward(g, w)
        return g * w

    @staticmethod
    def backward(ctx, h):
        g, w = ctx.saved_tensors
        return h * w, 2 * h * g


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backward", "second", "words"),
    [
        (twice_right, True, ""),
        (once_differentiable(d_product), False, "can't be had"),
        (twice_cut, False, "the second derivative by"),
        (twice_lost, False, "the second derivative by"),
        (twice_wrong, False, "the second derivative by w is wrong"),
    ],
)
def test_second_derivatives_are_checked_if_asked_for_and_else_remarked(backward, second, words):
    made = function(PRODUCT, backward)
    result = check_function(made, product, x=X, w=W)
    remarked = any("wrong without an error" in remark for remark in result.remarks)
    assert remarked == (not second and "had" not in words)
    if second:
        assert check_function(made, product, orders=2, x=X, w=W).remarks == []
        return
    found = mistake(check_function, made, product, orders=2, x=X, w=W)
    assert found["mistake"] == "second-derivative"
    assert words in found["says"]


def test_a_function_without_a_second_derivative_needs_none():
    made = function(lambda ctx, x: 3 * x, lambda ctx, g: 3 * g)
    assert check_function(made, lambda x: 3 * x, orders=2, x=X).verdict == "match"
    with pytest.raises(ValueError, match="orders is 3; expected 1 or 2"):
        check_function(made, lambda x: 3 * x, orders=3, x=X)


def test_a_second_derivative_that_is_not_finite_has_one_mistake_and_one_remedy():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g + 0 * torch.sqrt(x - x)

    with pytest.raises(GradientMismatch) as raised:
        check_function(function(forward, backward), lambda x: x * x, orders=2, x=X)
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("the second derivative, by x: mismatch, 12 of 12 elements differ")
    assert lines[1:3] == [
        "  yours     nan",
        f"  PyTorch   {raised.value.first_mismatch['torch']!r}",
    ]
    assert [line[:11] for line in lines[3:]] == ["  mistake  ", "  remedy   "]


def test_a_reference_without_a_second_derivative_has_nothing_to_compare_or_is_told():
    def once(x, w):
        return function(PRODUCT, once_differentiable(d_product)).apply(x, w)

    def lost(x, w):
        return function(PRODUCT, twice_lost).apply(x, w)

    made = function(PRODUCT, d_product)
    assert check_function(made, lost, orders=2, x=X, w=W).verdict == "match"
    assert check_function(made, once, x=X, w=W).verdict == "match"
    with pytest.raises(ValueError, match="the second differentiation of reference raised Runtime"):
        check_function(made, once, orders=2, x=X, w=W)


def forward_with_setup(x, w):
    return x * w


def setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs)
    ctx.save_for_forward(*inputs)


def jvp(ctx, t_x, t_w):
    x, w = ctx.saved_tensors
    return (0 if t_x is None else t_x * w) + (0 if t_w is None else t_w * x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"jvp": jvp}, ""),
        ({"jvp": lambda ctx, *t: 2 * jvp(ctx, *t)}, "the forward-mode derivative by output is"),
        ({"jvp": lambda ctx, *t: None}, "forward-mode"),
        ({}, "the forward-mode derivative can't be had"),
    ],
)
def test_the_forward_mode_is_checked_if_asked_for(more, words):
    made = function(forward_with_setup, d_product, setup_context=setup, **more)
    assert check_function(made, product, x=X, w=W).verdict == "match"
    if not words:
        assert check_function(made, product, jvp=True, x=X, w=W).verdict == "match"
        return
    found = mistake(check_function, made, product, jvp=True, x=X, w=W)
    assert found["mistake"] == "forward-mode"
    assert words in found["says"] or words == "forward-mode"


def with_ranks(ctx, x):
    ranks, kept = x.argsort(1), (x > 0).to(x.dtype)
    ctx.mark_non_differentiable(ranks, kept)
    ctx.save_for_backward(x)
    return kept, x**2, ranks


def ranks(x):
    return (x > 0).to(x.dtype), x**2, x.argsort(1)


@pytest.mark.parametrize(("factor", "right"), [(2, True), (3, False)])
def test_outputs_that_are_not_differentiable_and_integers_are_skipped(factor, right):
    def backward(ctx, _, g, __):
        return factor * ctx.saved_tensors[0] * g

    made = function(with_ranks, backward)
    if right:
        assert list(check_function(made, ranks, x=X).accuracy) == ["output_1", "x"]
    else:
        assert mistake(check_function, made, ranks, x=X)["quantity"] == "x"


def test_an_integer_output_that_the_function_does_differentiate_is_skipped_too():
    made = function(
        lambda ctx, x: (x * 2, x * 3), lambda ctx, g, h: 2 * g + (0 if h is None else 3 * h)
    )
    assert list(check_function(made, lambda x: (2 * x, x.argmax()), x=X).accuracy) == [
        "output_0",
        "x",
    ]


class Scaled(F):
    @staticmethod
    def forward(ctx, x, by=2.0, *rest, power=1):
        ctx.by = by
        return x * by

    @staticmethod
    def backward(ctx, g):
        return g * ctx.by, *[None] * (Scaled.returns - 1)


@pytest.mark.parametrize(
    ("inputs", "returns"), [({"x": X}, 1), ({"x": X, "by": 3.0}, 2), ({"data": X, "by": 3.0}, 2)]
)
def test_arguments_are_bound_by_name_or_in_their_order_and_keep_their_defaults(inputs, returns):
    Scaled.returns = returns

    def reference(by=2.0, **data):
        (x,) = data.values()
        return x * by

    result = check_function(Scaled, reference, **inputs)
    assert result.verdict == "match"


@pytest.mark.parametrize(
    ("made", "reference", "inputs", "words"),
    [
        (function(PRODUCT, d_product), product, {"x": X}, "argument 'w' is missing; expected it"),
        (function(PRODUCT, d_product), product, {"x": X, "v": W}, "reference raised TypeError"),
        (
            function(lambda ctx, x: x.round().long(), lambda ctx, g: g),
            lambda x: x,
            {"x": X},
            "the function gives no output that can be differentiated",
        ),
        (
            function(lambda ctx, x: x[9], lambda ctx, g: g),
            lambda x: x,
            {"x": X},
            "the function raised IndexError",
        ),
        (
            function(lambda ctx, x: x * 1, lambda ctx, g: g),
            lambda x: x.argmax(),
            {"x": X},
            "reference gives no floating-point output",
        ),
    ],
)
def test_what_cannot_be_checked_is_told(made, reference, inputs, words):
    with pytest.raises((ValueError, TypeError), match=words):
        check_function(made, reference, **inputs)


def test_a_plain_function_of_tensors_is_checked_too():
    assert check_function(torch.sigmoid, lambda x: 1 / (1 + torch.exp(-x)), x=X).verdict == "match"


def test_a_reference_that_autograd_cannot_follow_still_checks_what_the_function_gives():
    made = function(
        lambda ctx, x, w: ctx.save_for_backward(x) or x**2,
        lambda ctx, g: (2 * g * ctx.saved_tensors[0], None),
    )
    assert check_function(made, lambda x, w: x**2, x=X, w=W).verdict == "match"

    def spoiled(x, w):
        y = x.exp()
        loss = y * y
        y.add_(1)
        return loss

    with pytest.raises(ValueError, match="the differentiation of reference raised"):
        check_function(made, spoiled, x=X, w=W)


def test_a_single_number_and_half_precision_are_legal():
    total = function(
        lambda ctx, x: ctx.save_for_backward(x) or (x**2).sum(),
        lambda ctx, g: 2 * g * ctx.saved_tensors[0],
    )

    def reference(x):
        return (x**2).sum()

    for x in (X, 3.0 * torch.ones(()), torch.tensor(X, dtype=torch.bfloat16)):
        assert check_function(total, reference, x=x).verdict == "match"
        assert mistake(check_function, total, lambda x: 2 * (x**2).sum(), x=x)


def test_complex_outputs_are_checked_by_both_parts():
    square = function(
        lambda ctx, z: ctx.save_for_backward(z) or z * z,
        lambda ctx, g: (
            2 * g * (ctx.saved_tensors[0].conj() if square.right else ctx.saved_tensors[0])
        ),
    )
    z = X + 1j * W
    square.right = True
    assert check_function(square, lambda z: z * z, z=z).verdict == "match"
    square.right = False
    assert mistake(check_function, square, lambda z: z * z, z=z)["quantity"] == "z"


# check_layer


def forward(x, w):
    return x * w, (x, w)


Gradients = collections.namedtuple("Gradients", "x w")


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [
        lambda d_x, d_w: {"x": d_x, "w": d_w},
        lambda d_x, d_w: {"dx": d_x, "dw": d_w},
        lambda d_x, d_w: (d_x, d_w),
        lambda d_x, d_w: [d_x, d_w],
        lambda d_x, d_w: (d_x, None),
        lambda d_x, d_w: {"dx": d_x, "w": None},
        lambda d_x, d_w: d_x,
        Gradients,
    ],
)
@pytest.mark.parametrize("part", [1, 1.001])
def test_a_layer_returns_its_gradients_in_any_usual_form(form, part):
    def backward(dout, cache):
        x, w = cache
        return form(part * dout * w, dout * x)

    if part == 1:
        result = check_layer(forward, backward, product, x=X, w=W)
        assert list(result.accuracy)[:2] == ["output", "x"]
        missing = ["backward gives no gradient of w, so none was checked"]
        assert result.remarks == ([] if "w" in result.accuracy else missing)
        return
    found = mistake(check_layer, forward, backward, product, x=X, w=W)
    assert (found["quantity"], found["mistake"]) == ("x", "scaled-by-constant")


def test_a_wrong_output_of_a_layer_is_found():
    def backward(dout, cache):
        return dout * cache[1], dout * cache[0]

    found = mistake(check_layer, lambda x, w: (x * w * 1.001, (x, w)), backward, product, x=X, w=W)
    assert found["quantity"] == "output"


@pytest.mark.parametrize("gradient", [lambda g, h: g + 2 * h, lambda g, h: g + h])
def test_a_layer_may_have_several_outputs(gradient):
    def backward(douts, cache):
        g, h = douts
        return {"x": gradient(g, h)}

    def reference(x):
        return x, 2 * x

    if gradient(0, 1) == 2:
        result = check_layer(lambda x: ((x, 2 * x), None), backward, reference, x=X)
        assert list(result.accuracy) == ["output_0", "output_1", "x"]
    else:
        found = mistake(check_layer, lambda x: ((x, 2 * x), None), backward, reference, x=X)
        assert found["quantity"] == "x"


def by_memory(dout, cache):
    plain = np.frombuffer(dout.tobytes("A")).reshape(dout.shape)
    return plain * cache[1], plain * cache[0]


def by_base(dout, cache):
    base = dout if dout.base is None else dout.base.ravel()[: dout.size].reshape(dout.shape)
    return base * cache[1], base * cache[0]


@pytest.mark.parametrize(
    ("backward", "words"),
    [(by_memory, "stored by columns"), (by_base, "sliced from a larger one")],
)
def test_a_layer_that_reads_memory_and_not_strides_is_found(backward, words):
    found = mistake(check_layer, forward, backward, product, x=X, w=W)
    assert found["mistake"] == "strides"
    assert words in found["says"]


def test_a_layer_that_overwrites_the_incoming_gradient_gets_a_remark():
    def backward(dout, cache):
        d_x = dout * cache[1]
        dout *= cache[0]
        return d_x, dout

    result = check_layer(forward, backward, product, x=X, w=W)
    assert result.remarks == [
        "backward overwrites the incoming gradient: work on a copy if it is needed elsewhere"
    ]


def test_a_right_backward_that_overwrites_a_vector_is_right():
    def backward(dout, x):
        dout *= 2 * x
        return dict(x=dout)

    result = check_layer(lambda x: (x * x, x), backward, lambda x: x * x, x=X[0])
    assert result.verdict == "match"
    assert "backward overwrites the incoming gradient" in str(result)


async def later(x):
    return x, 1


@pytest.mark.filterwarnings("error:coroutine")
@pytest.mark.parametrize(
    ("forward", "backward", "reference", "words"),
    [
        (lambda x: x, lambda g, c: g, lambda x: x, "forward returned no pair; expected"),
        (lambda x: (x, 1), lambda g, c: g, lambda x: (x, x), "returned 1 output; the reference"),
        (lambda x: (x, 1), lambda g, c: (g, g), lambda x: x, "returned 2 gradients; expected at"),
        (lambda x: (x, 1), lambda g, c: 1 / 0, lambda x: x, "the layer raised ZeroDivisionError"),
        (later, lambda g, c: g, lambda x: x, "forward is an async function; expected one without"),
        (lambda x: (x, 1), lambda g, c: later(g), lambda x: x, "backward is an async function"),
        (lambda x: (x, 1), lambda g, c: g, later, "^reference is an async function"),
        (lambda x: (x, 1), lambda g, c: g, lambda x: 3, "reference gives int; expected a tensor"),
        (lambda x: (x, 1), lambda g, c: g, lambda x: x.long(), "no floating-point output"),
    ],
)
def test_what_is_no_layer_is_told(forward, backward, reference, words):
    with pytest.raises((ValueError, TypeError), match=words):
        check_layer(forward, backward, reference, x=X)


def test_options_reach_a_layer():
    def backward(dout, cache):
        return dout * cache[1] * 1.001, dout * cache[0]

    result = check_layer(forward, backward, product, x=X, w=W, rtol=1e-2)
    assert result.verdict == "match"
    with pytest.raises(TypeError, match="did you mean 'rtol'"):
        check_layer(forward, backward, product, x=X, w=W, rtoll=1e-2)


def test_a_function_inside_check_gradients_is_any_reference():
    made = function(PRODUCT, d_product)
    result = check_gradients(
        lambda x, w: {"x": 2 * x * w * w}, lambda x, w: (made.apply(x, w) ** 2).sum(), x=X, w=W
    )
    assert result.verdict == "match"


@pytest.mark.parametrize(
    ("grows", "mistake"), [(lambda n: n, "gradients-accumulated"), (lambda n: n**3, "unknown")]
)
def test_a_layer_that_gives_another_gradient_at_its_second_call_is_a_mismatch(grows, mistake):
    calls = []

    def backward(dout, x):
        calls.append(1)
        return {"x": 2 * dout * x * grows(len(calls))}

    with pytest.raises(GradientMismatch, match="when it is called again") as error:
        check_layer(lambda x: (x * x, x), backward, lambda x: x * x, x=np.linspace(1, 2, 5))
    assert error.value.diagnoses[0]["mistake"] == mistake


@pytest.mark.parametrize("first", [2, 3, 5])
def test_a_function_whose_backward_drifts_after_some_calls_is_a_mismatch(first):
    calls = []

    class Drifts(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, incoming):
            calls.append(1)
            (x,) = ctx.saved_tensors
            return incoming * x.cos() * (1.01 if len(calls) >= first else 1)

    with pytest.raises(GradientMismatch, match="when it is called again"):
        check_function(Drifts, lambda x: x.sin(), x=torch.linspace(-1, 2, 7, dtype=torch.float64))


def test_a_reference_of_a_layer_that_is_not_the_same_twice_is_refused():
    calls = []

    def reference(x):
        calls.append(1)
        return x * x * len(calls)

    with pytest.raises(ValueError, match="reference gives different gradients when it is called"):
        check_layer(
            lambda x: (x * x, x), lambda dout, x: {"x": 2 * dout * x}, reference, x=np.ones(3)
        )


@pytest.mark.parametrize(
    ("outputs", "words"),
    [(1, "forward returned 1 output; the reference gives 2"), (3, "3 outputs that can be diff")],
)
def test_a_function_gives_as_many_outputs_as_the_reference(outputs, words):
    class Several(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return tuple(x * (k + 1) for k in range(outputs))

        @staticmethod
        def backward(ctx, *given):
            return sum((k + 1) * each for k, each in enumerate(given))

    with pytest.raises(ValueError, match=words):
        check_function(Several, lambda x: (x, 2 * x), x=X)


@pytest.mark.parametrize("nothing", [None, {}, ()])
def test_a_backward_without_any_gradient_is_refused(nothing):
    with pytest.raises(ValueError, match="backward returned no gradient"):
        check_layer(lambda x: (x * x, x), lambda dout, x: nothing, lambda x: x * x, x=X)


def affine(x, params):
    return x @ params["W"] + params["b"]


def affine_by_list(x, params):
    return x @ params[0] + params[1]


def d_affine(wrong=1.0):
    """The gradients of x, W and b."""

    def gradients(dout, x, weight):
        return dout @ weight.T, wrong * x.T @ dout, dout.sum(axis=0)

    return gradients


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [
        lambda x, w, b: {"x": x, "params": {"W": w, "b": b}},
        lambda x, w, b: {"dx": x, "dparams": {"W": w, "b": b}},
        lambda x, w, b: (x, {"W": w, "b": b}),
        lambda x, w, b: {"x": x, "params": {"W": w, "b": None}},
        lambda x, w, b: {"params": {"W": w}},
    ],
)
@pytest.mark.parametrize("wrong", [1.0, 1.001])
def test_a_layer_with_a_dict_of_parameters_has_a_dict_of_gradients(form, wrong):
    def backward(dout, cache):
        x, params = cache
        return form(*d_affine(wrong)(dout, x, params["W"]))

    def check():
        return check_layer(
            lambda x, params: (affine(x, params), (x, params)),
            backward,
            affine,
            x=X,
            params={"W": W.T[:, :2], "b": W[0, :2]},
        )

    if wrong == 1:
        assert check().verdict == "match"
        return
    found = mistake(check)
    assert (found["quantity"], found["mistake"]) == ("params['W']", "scaled-by-constant")


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("wrong", [1.0, 1.001])
def test_a_layer_with_a_list_of_parameters_has_a_list_of_gradients(kind, wrong):
    def backward(dout, cache):
        x, params = cache
        dx, dw, db = d_affine(wrong)(dout, x, params[0])
        return dx, kind([dw, db])

    def check():
        return check_layer(
            lambda x, params: (affine_by_list(x, params), (x, params)),
            backward,
            affine_by_list,
            x=X,
            params=kind([W.T[:, :2], W[0, :2]]),
        )

    if wrong == 1:
        assert check().verdict == "match"
    else:
        assert mistake(check)["quantity"] == "params[0]"


def test_a_gradient_of_a_layer_that_is_no_part_of_its_input_is_told():
    with pytest.raises(ValueError, match="one gradient for 'params'; expected its parts, such as"):
        check_layer(
            lambda x, params: (affine(x, params), 0),
            lambda dout, cache: {"params": dout},
            affine,
            x=X,
            params={"W": W.T, "b": W[:, 0]},
        )


@pytest.mark.parametrize(("by", "right"), [(2, True), (2.1, False)])
def test_a_layer_of_numbers_alone_is_one(by, right):
    def one():
        return check_layer(
            lambda a: (a**2, a), lambda dout, a: (by * a * dout,), lambda a: a**2, a=1.5
        )

    def two():
        return check_layer(
            lambda a, k: ((a**2 * k, a + k), (a, k)),
            lambda dout, cache: {"a": by * cache[0] * cache[1] * dout[0] + dout[1]},
            lambda a, k: (a**2 * k, a + k),
            a=1.5,
            k=3,
        )

    for check in (one, two):
        if right:
            assert check().verdict == "match"
        else:
            assert mistake(check)["quantity"] == "a"


def test_a_wrong_forward_of_a_number_is_found():
    found = mistake(
        check_layer, lambda a: (1.1 * a**2, a), lambda d, a: (2 * a * d,), lambda a: a**2, a=1.5
    )
    assert found["quantity"] == "output"
