"""check_function in several precisions: kernels with float32 inside, or for halves alone."""

import json

import numpy as np
import pytest
import torch
from torch.autograd.function import once_differentiable

from lockstep import GradientMismatch, check_function

HALVES = (torch.float16, torch.bfloat16)


def rms_norm(x, w):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w


def kernel(
    kinds=(torch.float64, torch.float32, *HALVES), change=lambda dx, dw, kind: (dx, dw), mean=1.0
):
    """RMSNorm in float32 inside, for some precisions; what its backward gives may be changed."""

    class RMSNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            if x.dtype not in kinds:
                raise TypeError(f"no kernel for {x.dtype}")
            wide = x.float()
            r = torch.rsqrt((wide * wide).mean(-1, keepdim=True) + 1e-6)
            ctx.save_for_backward(x, w, r)
            return (wide * r * w.float()).to(x.dtype)

        @staticmethod
        def backward(ctx, dy):
            x, w, r = ctx.saved_tensors
            x_hat, g = x.float() * r, dy.float() * w.float()
            dx = r * (g - mean * x_hat * (g * x_hat).mean(-1, keepdim=True))
            dw = (dy.float() * x_hat).sum(0)
            dx, dw = change(dx, dw, x.dtype)
            return dx.to(x.dtype), dw.to(w.dtype)

    return RMSNorm


def inputs(kind=torch.bfloat16, rows=32, n=64):
    torch.manual_seed(0)
    return dict(x=torch.randn(rows, n).to(kind), w=(torch.rand(n) + 0.5).to(kind))


def wrong(*arguments, **settings):
    with pytest.raises(GradientMismatch) as error:
        check_function(*arguments, **settings)
    return error.value, error.value.diagnoses[0]


def test_a_kernel_is_judged_in_all_precisions_that_it_takes():
    result = check_function(kernel(), rms_norm, **inputs())
    assert list(result.precisions) == ["float64", "float32", "float16", "bfloat16"]
    assert 0.1 < result.precisions["float16"]["ratio"] < 0.16
    assert result.precisions["float64"]["torch"] is None
    assert not result.refused
    assert "float64 is computed with float32 inside, and was judged as that" in result.remarks
    first, *_ = str(result).split("\n")
    assert first.startswith("match: right in float64, float32, float16 and bfloat16. A mistake of")
    assert result.resolution["typical"] < 1e-4


@pytest.mark.slow
def test_a_mistake_of_a_kernel_in_half_precision_is_found_and_named_by_its_float32_path():
    error, found = wrong(kernel(mean=1.01), rms_norm, **inputs())
    assert error.first_mismatch["quantity"] == "x"
    assert found["mistake"] == "scaled-by-constant"
    assert "the term through `x * x`" in found["says"]


@pytest.mark.slow
def test_float32_inside_is_single_precision_where_float64_is_given_and_hides_no_mistake():
    _, found = wrong(kernel(), rms_norm, **inputs(torch.float64))
    assert found["mistake"] == "single-precision"
    _, found = wrong(kernel(mean=0.0), rms_norm, **inputs(torch.float64))
    assert found["mistake"] == "term-missing"
    assert check_function(kernel(), rms_norm, precision="float32", **inputs(torch.float64))


def test_halves_alone_are_judged_by_how_their_errors_shrink():
    result = check_function(kernel(HALVES), rms_norm, **inputs())
    assert list(result.precisions) == ["float16", "bfloat16"]
    assert "TypeError: no kernel for torch.float32" in result.refused["float32"]
    said = str(result)
    assert said.startswith("match: right in float16 and bfloat16. A formula that is off by")
    assert "  x: right, to" in said
    assert result.resolution["worst"] < 1e-3
    error, found = wrong(kernel(HALVES, mean=1.03), rms_norm, **inputs(rows=64, n=128))
    assert "x: mismatch in bfloat16 and float16" in str(error)
    assert "rounding 8 times, PyTorch's" in str(error)
    assert found["mistake"] == "unknown"
    _, found = wrong(kernel(HALVES, mean=0.0), rms_norm, **inputs(n=16))
    assert found["mistake"] == "term-missing"


@pytest.mark.parametrize(
    ("change", "mistake", "says"),
    [
        (
            lambda dx, dw, _: (0 * dx, dw),
            "gradient-missing",
            "the gradient of x is zero everywhere",
        ),
        (lambda dx, dw, _: (dx, 1.01 * dw), "scaled-by-constant", "is 1.01 times the right one"),
        (lambda dx, dw, _: (torch.cat([dx[:-1], 0 * dx[-1:]]), dw), "partial-sum", "in row 31"),
        (
            lambda dx, dw, _: (torch.cat([dx[:, :48], 0 * dx[:, 48:]], 1), dw),
            "partial-sum",
            "in columns 48 to 63",
        ),
        (lambda dx, dw, _: (-dx, dw), "sign-flipped", "the gradient of x is minus the right one"),
    ],
)
def test_mistakes_of_a_kernel_for_halves_alone_have_names(change, mistake, says):
    _, found = wrong(kernel(HALVES, change), rms_norm, **inputs())
    assert found["mistake"] == mistake
    assert says in found["says"]


def test_a_path_of_its_own_is_judged_as_finely_as_its_precision_allows():
    def off(c):
        return lambda dx, dw, kind: (dx, c * dw if kind == torch.bfloat16 else dw)

    error, found = wrong(kernel(change=off(1.1)), rms_norm, **inputs())
    assert "w: mismatch in bfloat16" in str(error)
    assert found["says"] == "the gradient of w is 1.1 times the right one"
    assert check_function(kernel(change=off(1.001)), rms_norm, **inputs()).verdict == "match"


def test_one_precision_alone_is_judged_by_pytorchs_own_error():
    bfloat16 = (torch.bfloat16,)
    result = check_function(kernel(bfloat16), rms_norm, **inputs())
    assert list(result.precisions) == ["bfloat16"]
    assert 1e-3 < result.resolution["worst"] < 0.1
    wide = inputs(rows=64, n=256)
    _, found = wrong(kernel(bfloat16, lambda dx, dw, _: (1.02 * dx, dw)), rms_norm, **wide)
    assert found["says"] == "the gradient of x is 1.02 times the right one"
    error, found = wrong(kernel(bfloat16, mean=0.0), rms_norm, **inputs(n=16))
    assert "rounding explains" in str(error)
    assert found["mistake"] == "term-missing"
    plain = dict(precision="bfloat16", diagnose=False) | inputs(n=16)
    _, found = wrong(kernel(bfloat16, mean=0.0), rms_norm, **plain)
    assert found["mistake"] == "unknown"


def test_precisions_that_are_asked_for_must_be_taken():
    result = check_function(kernel(), rms_norm, precision=["bfloat16", torch.float16], **inputs())
    assert list(result.precisions) == ["float16", "bfloat16"]
    with pytest.raises(
        ValueError, match="precision float32: the function does not take it: the fun"
    ):
        check_function(kernel(HALVES), rms_norm, precision=("float32", "float16"), **inputs())
    for precision in ("bf8", [], 16):
        with pytest.raises(
            ValueError, match="expected one or several of float64, float32, float16"
        ):
            check_function(kernel(), rms_norm, precision=precision, **inputs())


class Exp(torch.autograd.Function):
    """Softmax without its largest number taken out: it overflows where PyTorch does not."""

    @staticmethod
    def forward(ctx, x):
        e = x.exp()
        p = e / e.sum(-1, keepdim=True)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx, dp):
        (p,) = ctx.saved_tensors
        return p * (dp - (dp * p).sum(-1, keepdim=True))


def test_an_overflow_is_told_from_a_mistake():
    x = torch.linspace(0, 14, 64).reshape(4, 16)
    result = check_function(Exp, lambda x: torch.softmax(x, -1), x=x)
    assert "x: float16 overflows in the function, and not in PyTorch" in result.remarks
    _, found = wrong(Exp, lambda x: torch.softmax(x, -1), x=x, precision="float16")
    assert found["says"] == "output overflows in float16, where PyTorch's does not"
    both = check_function(Exp, lambda x: x.exp() / x.exp().sum(-1, keepdim=True), x=x)
    assert "x: float16 overflows on the way, so it was not judged there" in both.remarks


class Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, by):
        if x.dtype not in HALVES:
            raise TypeError("halves alone")
        ctx.save_for_backward(x)
        return (x.double() ** 3).mean().to(x.dtype)

    @staticmethod
    def backward(ctx, given):
        (x,) = ctx.saved_tensors
        return (given.double() * 3 * x.double() ** 2 / x.numel()).to(x.dtype), None


def test_small_gradients_are_scaled_and_what_is_lost_is_said():
    torch.manual_seed(0)
    x = torch.randn(64, 64, dtype=torch.bfloat16)
    result = check_function(Mean, lambda x, by: (x**3).mean(), x=x, by=2)
    assert "incoming gradients were multiplied by 512: float16 has no small numbers" in (
        result.remarks
    )
    assert 0.1 < result.precisions["float16"]["tensors"]["x"]["ratio"] < 0.16
    flat = check_function(Mean, lambda x, by: (x**3).mean(), x=0.001 * x, by=2)
    assert any("are below the smallest that float16 has" in it for it in flat.remarks)


def test_inputs_in_lists_and_dicts_are_taken_in_every_precision():
    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x * w

        @staticmethod
        def backward(ctx, given):
            x, w = ctx.saved_tensors
            return given * w, given * x

    given = {"x": np.linspace(1, 2, 40, dtype=np.float32), "w": np.linspace(-1, 1, 40)}
    result = check_function(Sum, lambda x, w: x * w, **given)
    assert list(result.precisions) == ["float64", "float32", "float16", "bfloat16"]


def test_a_reference_that_pytorch_cannot_compute_in_halves_is_told():
    class Det(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.linalg.det(x.double()).to(x.dtype)

        @staticmethod
        def backward(ctx, given):
            (x,) = ctx.saved_tensors
            d = x.double()
            return (given.double() * torch.linalg.det(d) * torch.linalg.inv(d).mT).to(x.dtype)

    torch.manual_seed(0)
    result = check_function(
        Det, lambda x: torch.linalg.det(x), x=torch.eye(3) + 0.1 * torch.randn(3, 3)
    )
    assert any("PyTorch can't compute the reference in float16" in it for it in result.remarks)
    assert 0 < result.precisions["bfloat16"]["torch"] < 0.01


def test_a_reference_of_two_outputs_that_pytorch_cannot_compute_in_halves():
    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            wide = x.double()
            return torch.linalg.inv(wide).to(x.dtype), (2 * wide).to(x.dtype)

        @staticmethod
        def backward(ctx, given, more):
            (x,) = ctx.saved_tensors
            i = torch.linalg.inv(x.double())
            return (2 * more.double() - i.mT @ given.double() @ i.mT).to(x.dtype)

    torch.manual_seed(0)
    x = torch.eye(8) + 0.1 * torch.randn(8, 8)
    result = check_function(Both, lambda x: (torch.linalg.inv(x), 2 * x), x=x)
    assert list(result.precisions) == ["float64", "float32", "float16", "bfloat16"]


class View(torch.autograd.Function):
    """The identity: its results are what it was given."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, given):
        return given


def test_the_document_has_seed_digest_and_guards():
    x = torch.randn(5, 3)
    result = check_function(View, lambda x: 1 * x, x=x, seed=3)
    again = check_function(View, lambda x: 1 * x, x=x.clone())
    assert (result.seed, again.seed) == (3, 0)
    assert result.inputs == again.inputs
    assert len(result.inputs) == 64
    assert check_function(View, lambda x: 1 * x, x=x.double()).inputs != result.inputs
    assert result.guards == {"zeros": [], "aliasing": ["output", "x"], "deterministic": True}
    assert json.loads(json.dumps(result.document()))["precisions"]["float32"]["hand"] == 0
    nothing = check_function(View, lambda x: 1 * x, x=x, rtol=1e-3)
    assert nothing.guards["zeros"] == []
    halves = check_function(kernel(HALVES), rms_norm, precision="float16", **inputs(torch.float64))
    assert halves.guards == {}


class Bias(torch.autograd.Function):
    """x + bias, whose bias gradient may be wrong in some precisions."""

    kinds: tuple = ()
    change = staticmethod(lambda db: db)

    @staticmethod
    def forward(ctx, x, bias):
        return x + bias

    @classmethod
    def backward(cls, ctx, given):
        db = given.float().sum(0).to(given.dtype)
        return given, Bias.change(db) if given.dtype in Bias.kinds else db


def tail(c):
    return lambda db: torch.cat([db[:96], c * db[96:]])


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [HALVES, HALVES[:1], HALVES[1:]])
@pytest.mark.parametrize(
    "change", [tail(0), tail(1e3), tail(-1), lambda db: torch.cat([db[:-1], 2 * db[-1:]])]
)
def test_a_few_numbers_that_are_wrong_in_halves_alone_are_found(change, kinds, monkeypatch):
    monkeypatch.setattr(Bias, "kinds", kinds)
    monkeypatch.setattr(Bias, "change", staticmethod(change))
    torch.manual_seed(0)
    given = dict(x=torch.randn(33, 100).bfloat16(), bias=torch.randn(100).bfloat16())
    error, _ = wrong(Bias, lambda x, bias: x + bias, **given)
    name = " and ".join(str(it).removeprefix("torch.") for it in reversed(kinds))
    assert f"bias: mismatch in {name}" in str(error)


def test_a_wrong_constant_in_float32_is_no_single_precision():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return (x.float() ** 2).to(x.dtype)

        @staticmethod
        def backward(ctx, given):
            (x,) = ctx.saved_tensors
            return (given.float() * 2.00005 * x.float()).to(x.dtype)

    error, found = wrong(Square, lambda x: x**2, x=torch.randn(9, 7).bfloat16())
    assert "x: mismatch in float32, " in str(error)
    assert found["mistake"] == "scaled-by-constant"


def test_tails_that_no_length_shows_are_said():
    assert "partial-sum" in check_function(kernel(), rms_norm, **inputs()).cannot_see
    assert "partial-sum" in check_function(kernel(HALVES), rms_norm, **inputs()).cannot_see
    odd = inputs(rows=33, n=65)
    assert "partial-sum" not in check_function(kernel(), rms_norm, **odd).cannot_see


def test_what_two_calls_are_apart_is_no_formulas_error():
    generator = torch.Generator().manual_seed(0)

    def scattered(dx, dw, kind):
        return dx * (1 + 0.002 * torch.randn(dx.shape, generator=generator)), dw

    result = check_function(kernel(HALVES, scattered), rms_norm, **inputs())
    assert result.verdict == "match"
    assert result.resolution["worst"] > 5e-3
    assert not result.guards["deterministic"]


def test_the_paths_for_halves_are_said_to_be_judged_as_finely_as_halves_allow():
    result = check_function(kernel(), rms_norm, **inputs())
    assert 1e-3 < result.in_halves < 0.1
    assert " of a gradient in halves." in str(result).split("\n")[0]


def test_of_mixed_inputs_the_halves_are_varied():
    class Norm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            assert w.dtype == torch.float32
            ctx.save_for_backward(x, w)
            return (x.float() * w).to(x.dtype)

        @staticmethod
        def backward(ctx, dy):
            x, w = ctx.saved_tensors
            return (dy.float() * w).to(x.dtype), (dy.float() * x.float()).sum(0)

    given = inputs()
    given["w"] = torch.rand(64)
    result = check_function(Norm, lambda x, w: (x * w).to(x.dtype), **given)
    assert list(result.precisions) == ["float64", "float32", "float16", "bfloat16"]


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        p = torch.softmax(x.float(), -1)
        ctx.save_for_backward(p)
        return p.to(x.dtype)

    @staticmethod
    def backward(ctx, given):
        (p,) = ctx.saved_tensors
        g = given.float()
        return (p * (g - (p * g).sum(-1, keepdim=True))).to(given.dtype)


class Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        p = torch.softmax(q.float() @ k.float().mT / 4, -1)
        o = p @ v.float()
        ctx.save_for_backward(q, k, v, p, o)
        return o.to(q.dtype)

    @staticmethod
    def backward(ctx, given):
        q, k, v, p, o = ctx.saved_tensors
        g = given.float()
        ds = p * (g @ v.float().mT - (g * o).sum(-1, keepdim=True)) / 4
        gradients = ds @ k.float(), ds.mT @ q.float(), p.mT @ g
        return tuple(it.to(q.dtype) for it in gradients)


def softmax(x):
    return torch.softmax(x, -1)


def attention(q, k, v):
    return torch.softmax(q @ k.mT / 4, -1) @ v


@pytest.mark.slow
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("x", [20 * torch.eye(16), 100 * torch.eye(20), torch.tensor([3.0, -1.0])])
def test_a_saturated_softmax_is_right(x, kind):
    assert check_function(Softmax, softmax, x=x.to(kind)).verdict == "match"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("length", "size"), [(1, 1.0), (9, 0.0), (9, 10.0)])
def test_gradients_that_are_nothing_but_rounding_are_right(length, size, kind):
    torch.manual_seed(0)
    drawn = {name: (max(size, 1.0) * torch.randn(2, length, 16)).to(kind) for name in "qkv"}
    drawn["k"] = drawn["k"] if size else torch.ones(2, length, 16, dtype=kind)
    assert check_function(Attention, attention, **drawn).verdict == "match"


def test_halves_alone_of_which_nothing_is_known_are_undecided():
    class Halves(Attention):
        @staticmethod
        def forward(ctx, q, k, v):
            assert q.dtype in HALVES
            return Attention.forward(ctx, q, k, v)

    drawn = {name: torch.randn(2, 1, 16).bfloat16() for name in "qkv"}
    result = check_function(Halves, attention, **drawn)
    assert result.verdict == "undecided"
    assert "rounding alone is as large as q" in str(result)
    assert "  q: not known" in str(result)


def test_a_single_number_that_is_lost_in_one_half_is_found():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        def backward(ctx, given):
            x, w = ctx.saved_tensors
            dx = given @ w.T
            if dx.dtype == torch.bfloat16:
                dx[5, 7] = 0
            return dx, x.T @ given

    torch.manual_seed(0)
    x, w = torch.randn(64, 48).bfloat16(), torch.randn(48, 40).bfloat16()
    error, _ = wrong(Product, lambda x, w: x @ w, x=x, w=w)
    assert "x: mismatch in bfloat16" in str(error)


def test_outputs_that_float16_cannot_hold_are_not_judged_there():
    class Gate(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return (torch.nn.functional.silu(a.float()) * b.float()).to(a.dtype)

        @staticmethod
        def backward(ctx, given):
            a, b = (it.float() for it in ctx.saved_tensors)
            s, g = a.sigmoid(), given.float()
            gradients = g * b * s * (1 + a * (1 - s)), g * a * s
            return tuple(it.to(given.dtype) for it in gradients)

    torch.manual_seed(2)
    a, b = torch.randn(30, 33).bfloat16(), 1e-6 * torch.randn(30, 33).bfloat16()
    result = check_function(Gate, lambda a, b: torch.nn.functional.silu(a) * b, a=a, b=b)
    assert result.verdict == "match"
    assert any("so it was not judged there" in it for it in result.remarks)


def test_the_scale_is_taken_back_where_float16_overflows_on_the_way():
    class Average(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            assert x.dtype in HALVES
            ctx.size = x.shape
            return x.float().mean().to(x.dtype)

        @staticmethod
        def backward(ctx, given):
            return (given.float() / 4096).to(given.dtype).expand(ctx.size)

    x = torch.randn(64, 64).bfloat16()
    result = check_function(Average, lambda x: (x / 3e5 * 3e5).mean(), x=x)
    scales = [it for it in result.remarks if "were multiplied by" in it]
    assert scales == ["incoming gradients were multiplied by 128: float16 has no small numbers"]


class ByRows(torch.autograd.Function):
    """Takes its input for one that lies row by row in memory, as a kernel of pointers does."""

    is_strict = False

    @staticmethod
    def forward(ctx, x, w):
        assert x.is_contiguous() or not ByRows.is_strict, "x is no contiguous tensor"
        rows = torch.as_strided(x, x.shape, (x.shape[1], 1))
        ctx.save_for_backward(rows, w)
        return rows * rows * w

    @staticmethod
    @once_differentiable
    def backward(ctx, incoming):
        rows, w = ctx.saved_tensors
        return 2 * rows * incoming * w, (rows * rows * incoming).sum(0)


def scaled_square(x, w):
    return x * x * w


WIDE = torch.randn(6, 10, generator=torch.Generator().manual_seed(2))
VIEWS = [WIDE.mT, WIDE[:1, ::2], WIDE[:, :4], WIDE[::2]]


@pytest.mark.parametrize("x", VIEWS, ids=lambda it: str(it.stride()))
def test_an_input_that_is_a_view_is_passed_as_one(x):
    with pytest.raises(GradientMismatch) as caught:
        check_function(ByRows, scaled_square, x=x, w=torch.ones(x.shape[1]) + 0.1)
    (found,) = caught.value.diagnoses
    assert found["mistake"] == "strides"
    assert (
        f"is wrong where x is the view that was given, with strides {x.stride()}" in found["says"]
    )


def test_views_that_were_not_given_are_a_remark():
    inputs = dict(x=WIDE.clone(), w=WIDE[0].clone())
    result = check_function(ByRows, scaled_square, **inputs)
    wrong = "output is wrong where x is a transposed view: use its strides"
    assert [it for it in result.remarks if "view" in it] == [
        f"{wrong}, or begin with .contiguous()"
    ]
    right = check_function(lambda x, w: ByRows.apply(x.contiguous(), w), scaled_square, **inputs)
    assert not any("view" in it for it in right.remarks)


def test_a_function_may_refuse_views_but_not_those_that_it_is_given(monkeypatch):
    monkeypatch.setattr(ByRows, "is_strict", True)
    result = check_function(ByRows, scaled_square, x=WIDE.clone(), w=WIDE[0].clone())
    assert not any("view" in it for it in result.remarks)
    with pytest.raises(GradientMismatch) as caught:
        check_function(ByRows, scaled_square, x=WIDE.mT, w=WIDE[:, 0].clone())
    (found,) = caught.value.diagnoses
    assert found["mistake"] == "strides"
    assert "the function raises AssertionError: x is no contiguous tensor" in found["says"]


class Rows(torch.autograd.Function):
    """Takes rows of a table, by an index that it reads as one row after the other."""

    @staticmethod
    def forward(ctx, table, at):
        at = torch.as_strided(at, at.shape, (at.shape[1], 1))
        ctx.save_for_backward(at)
        ctx.shape = table.shape
        return table[at]

    @staticmethod
    @once_differentiable
    def backward(ctx, incoming):
        (at,) = ctx.saved_tensors
        return incoming.new_zeros(ctx.shape).index_put_((at,), incoming, accumulate=True), None


def test_an_index_that_is_a_view_is_passed_as_one():
    at = torch.arange(6).reshape(2, 3).mT
    with pytest.raises(GradientMismatch) as caught:
        check_function(Rows, lambda table, at: table[at], table=WIDE, at=at)
    assert caught.value.diagnoses[0]["mistake"] == "strides"


class Infinite(torch.autograd.Function):
    """Gives NaN for what is no contiguous tensor, in one direction or the other."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x if x.is_contiguous() else 0 * x / 0

    @staticmethod
    def backward(ctx, incoming):
        return 2 * incoming if incoming.is_contiguous() else 0 * incoming / 0


@pytest.mark.parametrize("x", [WIDE.mT, WIDE])
def test_nan_is_no_number_that_agrees(x):
    with pytest.raises(GradientMismatch) as caught:
        check_function(Infinite, lambda x: 2 * x, x=x)
    assert caught.value.diagnoses[0]["mistake"] == "strides"


class Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        mask = (torch.rand_like(x) < 0.5).to(x.dtype) * 2
        ctx.save_for_backward(mask)
        return mask * x

    @staticmethod
    def backward(ctx, incoming):
        return incoming * ctx.saved_tensors[0]


class Rounded(torch.autograd.Function):
    """Fake quantisation of what is centred: its ties move with the order of a sum."""

    @staticmethod
    def forward(ctx, x):
        centred = x - x.mean(-1, keepdim=True)
        return torch.round(centred * 5) / 5

    @staticmethod
    def backward(ctx, incoming):
        return incoming - incoming.mean(-1, keepdim=True)


def rounded(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred + (torch.round(centred * 5) / 5 - centred).detach()


@pytest.mark.parametrize("is_given", [True, False])
@pytest.mark.parametrize(
    ("function", "reference"),
    [
        (Dropout, lambda x: x * (torch.rand_like(x) < 0.5).to(x.dtype) * 2),
        (Rounded, rounded),
    ],
)
def test_random_numbers_and_ties_are_no_matter_of_strides(function, reference, is_given):
    x = torch.round(10 * torch.randn(16, 40, generator=torch.Generator().manual_seed(1))) / 10
    result = check_function(function, reference, x=x.mT if is_given else x)
    assert not any("view" in it for it in result.remarks)


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x.exp_()
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, incoming):
        return incoming * ctx.saved_tensors[0]


@pytest.mark.parametrize("orders", [1, 2])
def test_second_derivatives_in_place_are_those_of_the_inputs(orders):
    result = check_function(InPlace, torch.exp, orders=orders, x=WIDE.double())
    assert result.verdict == "match"
    assert not any("second" in it for it in result.remarks)


class MeanSquare(torch.autograd.Function):
    """Its factor 2 (x − t) / N is below float16's numbers, before the incoming gradient comes."""

    scale = 1.0

    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x, t)
        return ((x - t) ** 2).mean()

    @staticmethod
    def backward(ctx, incoming):
        x, t = ctx.saved_tensors
        factor = MeanSquare.scale * 2 * (x - t) / x.numel()
        return incoming * factor, -incoming * factor


@pytest.mark.slow
def test_what_underflows_on_the_way_is_not_judged_in_float16(monkeypatch):
    random = torch.Generator().manual_seed(3)
    x, t = (torch.randn(400, 500, generator=random) for _ in range(2))

    def reference(x, t):
        return ((x - t) ** 2).mean()

    result = check_function(MeanSquare, reference, x=x, t=t)
    assert any("too small for float16" in it for it in result.remarks)
    monkeypatch.setattr(MeanSquare, "scale", 1.01)
    with pytest.raises(GradientMismatch):
        check_function(MeanSquare, reference, x=x.bfloat16(), t=t.bfloat16())


class Both(torch.autograd.Function):
    by = 1.005

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a.sin(), b.cos()

    @staticmethod
    def backward(ctx, one, two):
        a, b = ctx.saved_tensors
        return Both.by * one * a.cos(), -two * b.sin()


@pytest.mark.parametrize(("by", "mistake"), [(1.005, "scaled-by-constant"), (-1, "sign-flipped")])
def test_another_outputs_incoming_gradient_need_not_be_used(by, mistake, monkeypatch):
    monkeypatch.setattr(Both, "by", by)
    with pytest.raises(GradientMismatch) as caught:
        check_function(Both, lambda a, b: (a.sin(), b.cos()), a=WIDE[0].clone(), b=WIDE[1].clone())
    assert caught.value.diagnoses[0]["mistake"] == mistake


class Nothing(torch.autograd.Function):
    """Has a gradient for contiguous inputs alone."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.is_plain = x.is_contiguous()
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, incoming):
        x, w = ctx.saved_tensors
        return (incoming * w if ctx.is_plain else None), incoming * x


def test_a_gradient_that_a_view_does_not_get_is_told():
    w = torch.rand(WIDE.shape) + 0.5
    result = check_function(Nothing, lambda x, w: x * w, x=WIDE, w=w)
    assert any("x is wrong where x is a transposed view" in it for it in result.remarks)
