"""check_function: a torch.autograd.Function, in every way in which PyTorch may call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from lockstep.errors import first_line_of, observed
from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.check import REPORTED, Code, Options, checked, taken_out
from lockstep.gradients.inputs import Given, digest, given
from lockstep.gradients.kernels import Kernel, in_float32, judged
from lockstep.gradients.kernels import chosen as chosen_precisions
from lockstep.gradients.reference import (
    Named,
    Tensors,
    blamed,
    clones,
    gradients,
    leaves,
    same,
    same_draws,
    way_back,
)
from lockstep.gradients.result import CheckResult, GradientMismatch, mismatch
from lockstep.gradients.scalar import (
    OURS,
    Layer,
    alike,
    as_scalar,
    checked_twice,
    differentiable,
    like,
    several,
    unlike,
    weighed,
    weighed_sum,
    wrong,
)
from lockstep.network.names import Quantities
from lockstep.run.record import Entry
from lockstep.run.threads import threads

Apply = Callable[[Named], list[Any]]  # from arguments by name to the outputs
Results = dict[str, Tensor | None]  # outputs and gradients, None for one that is not there


def check_function(
    function: Any,
    reference: Code,
    /,
    *,
    orders: int = 1,
    jvp: bool = False,
    precision: Any = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    diagnose: bool = True,
    time_limit: float = 10.0,
    **inputs: Any,
) -> CheckResult:
    """Check the backward, and the forward, of a torch.autograd.Function.

    Besides the gradients for a random incoming gradient, it checks: incoming gradients that are
    expanded, transposed, sliced or missing; inputs that are views; that nothing given is
    overwritten; that every input may be the only one that needs a gradient; that further calls give
    the same.

    Reports call the result of the forward `output`, or `output_0`, `output_1` … if there are
    several. If an input has that name already, an underscore is added: `output_`.

    Args:
        function: The class. Its `apply` gets arrays as tensors and everything else as it is. The
            inputs are bound to the arguments of `forward` by name, or, where the names differ, in
            the order in which they are given here. Arguments that are left out keep their defaults.
        reference: Gets the inputs by name, as tensors. It returns what the forward returns, in the
            same shapes, built with torch. Outputs that the function marks as not differentiable,
            and integer ones, are skipped.
        orders: 2 checks second derivatives too.
        jvp: Whether the forward mode is checked too.
        precision: A name, or several, of `float64`, `float32`, `float16` and `bfloat16`: what the
            function is judged in. By default all that it takes. In the finest of the first two,
            every element is judged; in halves, each tensor as a whole, by how its error shrinks
            with precision.
        rtol, atol, seed, device, diagnose, time_limit: As for `check_gradients`.
        inputs: As for `check_gradients`. Floating-point arrays are differentiated; if some are
            tensors that require a gradient, only these.

    Returns:
        A match, with how fine the check could see; `print` it.

    Raises:
        GradientMismatch: A gradient or an output is wrong, or the backward returns None for an
            input that the output depends on, overwrites what it is given, or raises an exception
            for an incoming gradient that PyTorch may pass.
        ValueError: As for `check_gradients`.
        TypeError: As for `check_gradients`; or the reference gives no tensor.

    Examples:
        >>> import torch
        >>> from lockstep import check_function
        >>> class Cube(torch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x**3
        ...
        ...     @staticmethod
        ...     def backward(ctx, incoming):
        ...         return incoming * 3 * ctx.saved_tensors[0] ** 2
        >>> check_function(Cube, lambda x: x**3, x=torch.linspace(-2, 2, 9)).verdict
        'match'
    """
    __tracebackhide__ = True
    try:
        if orders not in (1, 2):
            raise ValueError(f"orders is {orders!r}; expected 1 or 2")
        options = taken_out(
            reference,
            inputs,
            rtol=rtol,
            atol=atol,
            seed=seed,
            device=device,
            diagnose=diagnose,
            time_limit=time_limit,
        )

        def check(own: Named) -> CheckResult:
            return _checked_function(function, reference, own, options, orders, jvp)

        def build(own: Named, is_wide: bool) -> _Function:
            known = in_float32(reference) if is_wide else reference
            return _built(function, known, own, options)

        with threads(1):
            if precision is None and options.is_fixed:
                found = check(inputs)
            else:
                kernel = Kernel(build, check, _structured, options)
                found = judged(kernel, inputs, chosen_precisions(precision))
            found.seed, found.inputs = options.seed, digest(given(inputs))
            with suppress(Exception):  # a precision that it does not take
                it = build(inputs, False)
                found.guards = _guards(it)
            if found.guards:
                found.remarks += _strided(it, inputs)
            return observed(found)
    except REPORTED as error:
        raise observed(error).with_traceback(None) from error.__cause__


@dataclass
class _Function:
    """A Function that is called by the names of its inputs.

    Attributes:
        layer: It as a scalar.
        apply: From arguments by name to the outputs.
        wanted: The names of arrays that are differentiated.
    """

    layer: Layer
    apply: Apply
    wanted: list[str]

    def both(
        self,
        incoming: list[Any] | None = None,
        arrays: Quantities | None = None,
        laid: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> tuple[list[Tensor], Results]:
        """The outputs and the gradients; nothing that is given may be overwritten.

        incoming: Gradients of the outputs, None for one that is not used; else the layer's.
        arrays: Other inputs.
        laid: By input what lays it out in memory in another way.
        """
        tensors = leaves(arrays or self.layer.arrays, self.wanted)
        with same_draws(), torch.enable_grad():
            passed = self.passed(tensors)
            passed |= {name: lay(passed[name]) for name, lay in (laid or {}).items()}
            return self.of(passed, tensors, incoming)

    def of(
        self, passed: Named, tensors: Tensors, incoming: list[Any] | None = None
    ) -> tuple[list[Tensor], Results]:
        """The same of what is passed, and was made from tensors."""
        layer = self.layer
        own = _tensors(layer.without_incoming(passed))
        before = {name: (tensor, tensor.detach().clone()) for name, tensor in own.items()}
        outputs = self.outputs(passed)
        _demand_unchanged("forward", before, outputs)
        if incoming is None:
            incoming = [passed[name] for name in layer.outputs]
        used = {k: it.detach().clone() for k, it in enumerate(incoming) if it is not None}
        found = torch.autograd.grad(
            [outputs[k] for k in used],
            [tensors[name] for name in self.wanted],
            [incoming[k] for k in used],
            allow_unused=True,
        )
        _demand_unchanged("backward", before, outputs)
        for k, clone in used.items():
            if not torch.equal(incoming[k], clone):
                raise wrong(
                    layer.outputs[k],
                    "input-changed",
                    "backward overwrites the incoming gradient, which PyTorch may need elsewhere",
                    "work on a copy: incoming = incoming.clone()",
                )
        return [output.detach() for output in outputs], dict(zip(self.wanted, found, strict=True))

    def passed(self, tensors: Tensors) -> Named:
        """What the function is called with, and incoming gradients: clones, as it may overwrite."""
        own = {name: tensor.clone() for name, tensor in tensors.items()}
        return self.layer.known.for_torch(own, self.layer.options.device)

    def outputs(self, passed: Named) -> list[Tensor]:
        """The outputs that are compared, in their right shapes."""
        layer = self.layer
        results = self.apply(layer.without_incoming(passed))
        if len(results) <= max(layer.numbers):
            raise layer.miscounted(results)
        if any(getattr(more, "requires_grad", False) for more in results[layer.given :]):
            raise layer.miscounted(results, " that can be differentiated")
        outputs = [results[k] for k in layer.numbers]
        for name, output in zip(layer.outputs, outputs, strict=True):
            shape, right = tuple(output.shape), layer.arrays[name].shape
            if shape != right:
                raise wrong(
                    name,
                    "wrong-shape",
                    f"{name} has shape {shape}; the reference gives {right}",
                    "return the output in the shape that the reference gives",
                )
        return outputs

    def eps(self, name: str) -> float:
        """The unit in the last place of a gradient, where it is not that of its array."""
        kind = self.layer.known.kinds.get(name)
        return float(torch.finfo(kind).eps) if kind else 0.0

    def results(self, **settings: Any) -> Results:
        """The outputs and the gradients by name. settings: as of `both`."""
        outputs, found = self.both(**settings)
        return dict(zip(self.layer.outputs, outputs, strict=True)) | found

    def answer(self, arrays: Quantities) -> Named:
        """The same, with zeros for None."""
        return {
            name: np.zeros_like(arrays[name]) if it is None else it
            for name, it in self.results(arrays=arrays).items()
        }


def _demand_unchanged(
    which: str, before: dict[str, tuple[Tensor, Tensor]], outputs: list[Tensor]
) -> None:
    """Raise where an input is not its copy any more. before: by name both."""
    for name, (tensor, copy) in before.items():
        returned = any(tensor is output for output in outputs)  # marked as dirty
        if not returned and not same(tensor, copy):
            raise wrong(
                name,
                "input-changed",
                f"{which} overwrites the input {name}",
                "work on a copy of it, or mark it with ctx.mark_dirty",
            )


def _tensors(passed: Any, name: str = "") -> Tensors:
    """All tensors in what is passed, by name."""
    if isinstance(passed, Tensor):
        return {name: passed}
    items: Any = ()
    if isinstance(passed, dict | list | tuple):
        items = passed.items() if isinstance(passed, dict) else enumerate(passed)
    return {
        each: tensor
        for key, value in items
        for each, tensor in _tensors(value, f"{name}[{key!r}]" if name else key).items()
    }


def _built(function: Any, reference: Code, inputs: Named, options: Options) -> _Function:
    apply, plain = _bound(function, list(inputs)), given(inputs)
    marked = [name for name, tensor in _tensors(inputs).items() if tensor.requires_grad]
    floats = [name for name in differentiable(plain) if name in marked or not marked]
    skipped = _not_differentiable(apply, plain, floats, options)
    it = _Function(as_scalar(reference, inputs, options, skipped), apply, floats)
    it.wanted = _reached(it, floats)
    return it


def _checked_function(
    function: Any, reference: Code, inputs: Named, options: Options, orders: int, jvp: bool
) -> CheckResult:
    it = _built(function, reference, inputs, options)
    result = checked_twice(it.answer, it.layer, it, "the function")
    _structured(it)
    if orders == 2:
        _demand_second(it)
    else:
        result.remarks += _second_remark(it)
    if jvp:
        _demand_forward_mode(it)
    return result


def _guards(it: _Function) -> Named:
    """What a program that scores kernels wants to know beside the verdict."""
    layer = it.layer
    right = gradients(layer.scalar, layer.arrays, it.wanted)
    tensors = leaves(layer.arrays, it.wanted)
    with same_draws(), torch.enable_grad():
        passed = it.passed(tensors)
        outputs, found = it.of(passed, tensors)
    before = {t.untyped_storage().data_ptr() for t in _tensors(passed).values()}
    results = dict(zip(layer.outputs, outputs, strict=True)) | found
    own = {name: result for name, result in results.items() if result is not None}
    again = it.answer(layer.arrays)
    return {
        "zeros": [name for name in it.wanted if not right[name].any()],
        "aliasing": [name for name, t in own.items() if t.untyped_storage().data_ptr() in before],
        "deterministic": all(
            torch.equal(torch.as_tensor(again[name]).cpu(), result.cpu())
            for name, result in own.items()
        ),
    }


def _structured(it: _Function) -> None:
    """Raise the mismatch where PyTorch may call it in a way in which it is wrong."""
    _demand_any_incoming(it)
    _demand_each_alone(it)


def _bound(function: Any, names: list[str]) -> Apply:
    """The function as one of arguments by name.

    Raises:
        ValueError: An argument that has no default is missing.
    """
    owner = getattr(function, "__self__", function)  # of Function.apply
    is_module = isinstance(function, torch.nn.Module)  # whose `apply` is something else
    forward = getattr(owner, "forward", None)
    apply = function if is_module else getattr(function, "apply", function)
    arguments = list(inspect.signature(forward).parameters.values()) if forward else []
    own_setup = torch.autograd.function._SingleLevelFunction.setup_context
    if not is_module and getattr(owner, "setup_context", own_setup) is own_setup:
        arguments = arguments[1:]  # without ctx
    known = [it.name for it in arguments]
    if not set(names) <= set(known):
        return lambda passed: several(apply(*(passed[name] for name in names)))
    for it in arguments:
        needed = it.default is it.empty and it.kind is not it.VAR_POSITIONAL
        if needed and it.name not in names:
            raise ValueError(f"forward's argument {it.name!r} is missing; expected it as an input")
    order = arguments[: max((known.index(name) + 1 for name in names), default=0)]
    return lambda passed: several(apply(*(passed.get(it.name, it.default) for it in order)))


def _not_differentiable(
    apply: Apply, plain: Given, floats: list[str], options: Options
) -> list[int]:
    """The numbers of outputs that the function does not differentiate."""
    with same_draws(), torch.enable_grad():
        try:
            results = apply(plain.for_torch(clones(plain.arrays, floats), options.device))
        except Exception as error:
            raise blamed("the function", error) from error
    skipped = [k for k, result in enumerate(results) if not getattr(result, "requires_grad", False)]
    if len(skipped) == len(results):
        raise ValueError(
            "the function gives no output that can be differentiated; "
            "expected a result that depends on its tensors"
        )
    return skipped


def _reached(it: _Function, floats: list[str]) -> list[str]:
    """The inputs that the reference depends on, and can be differentiated by."""
    layer = it.layer
    try:
        found = gradients(layer.scalar, layer.arrays, [*floats, *layer.outputs])
        return [name for name in floats if name in found]
    except ValueError:
        _, by_function = it.both()
        return [name for name in floats if by_function[name] is not None]


def _demand_any_incoming(it: _Function) -> None:
    """Raise the mismatch where an incoming gradient in another form gives another gradient."""
    known, device = it.layer.known, it.layer.options.device
    for k, name in enumerate(it.layer.outputs):
        base = [
            torch.tensor(known.arrays[each]).to(device, known.kinds.get(each))
            for each in it.layer.outputs
        ]
        for form, mistake, own in _forms(base[k], len(base) > 1):
            plain = torch.zeros_like(base[k]) if own is None else own.clone().contiguous()
            _, right = it.both([*base[:k], plain, *base[k + 1 :]])
            try:
                _, found = it.both([*base[:k], own, *base[k + 1 :]])
            except GradientMismatch:
                raise
            except Exception as error:
                raise wrong(
                    name,
                    mistake,
                    f"backward raises {type(error).__name__} for an incoming gradient of {name} "
                    f"that is {form}: {first_line_of(error)}",
                    _OF_FORMS[mistake],
                ) from error
            least = _largest(right)
            for each, gradient in found.items():
                if not alike(gradient, right[each], it.eps(each), least):
                    raise wrong(
                        each,
                        mistake,
                        f"the gradient of {each} is wrong where the incoming gradient of {name} "
                        f"is {form}; with the same numbers in a plain tensor it is right",
                        _OF_FORMS[mistake],
                    )


def _strided(it: _Function, inputs: Named) -> Iterator[str]:
    """A remark on the inputs that give other numbers as a view with other strides.

    Raises:
        GradientMismatch: Such an input was given as a view.
    """
    right = it.results()
    if _draws(it):  # other numbers in another layout
        return
    apart = list[str]()
    for name, value in inputs.items():
        tensor = torch.as_tensor(value) if isinstance(value, Tensor | np.ndarray) else None
        for view in _views(tensor) if tensor is not None else ():
            where = f"{name} is {view.words}"
            try:
                found = it.results(laid={name: view.lay})
            except Exception as error:
                if view.is_given:
                    raised = f"{type(error).__name__}: {first_line_of(error)}"
                    says = f"{where}: the function raises {raised}"
                    raise wrong(name, "strides", says, _STRIDES) from error
                continue  # it says that it wants another one
            each = _first_unlike(it, found, right)
            if each and view.is_given:
                says = f"{each} is wrong where {where}, with the same numbers"
                raise wrong(each, "strides", says, _STRIDES)
            if each:
                apart.append(f"{each} is wrong where {where}")
    if apart:
        yield f"{' and '.join(apart)}: use its strides, or begin with .contiguous()"


def _draws(it: _Function) -> bool:
    """Whether the function draws random numbers."""
    with same_draws(), torch.enable_grad():
        before = torch.get_rng_state()
        passed = it.passed(leaves(it.layer.arrays, it.wanted))
        it.apply(it.layer.without_incoming(passed))
        return not torch.equal(before, torch.get_rng_state())


def _first_unlike(it: _Function, found: Results, right: Results) -> str:
    """The name of the first result that differs, but where rounding decides; "" if none does."""
    jumps: list[Results] | None = None
    for names in (it.layer.outputs, it.wanted):
        least = _largest({name: right[name] for name in names})
        for name in names:
            own, theirs = found[name], right[name]
            if alike(own, theirs, it.eps(name), least):
                continue
            if own is None or theirs is None:
                return name
            off = unlike(own, theirs, it.eps(name), least)
            jumps = list(_nudged(it)) if jumps is None else jumps
            for nudged in jumps:  # at a tie, as a rounding of the inputs shows
                moved = nudged[name]
                if moved is not None:  # pragma: no branch
                    off &= ~unlike(moved, theirs, it.eps(name), least)
            if off.any():
                return name
    return ""


def _nudged(it: _Function) -> Iterator[Results]:
    """The results of inputs that are moved by a few units in the last place."""
    arrays, random = it.layer.arrays, np.random.default_rng([it.layer.options.seed, OURS])
    for _ in range(_NUDGES):
        moved = {
            name: (
                array * (1 + _BY * random.normal(size=array.shape) * np.finfo(array.dtype).eps)
            ).astype(array.dtype)
            for name, array in arrays.items()
            if name in it.wanted
        }
        yield it.results(arrays=arrays | moved)


_NUDGES, _BY = 8, 4  # how often inputs are moved, and by how many units in the last place


@dataclass
class _View:
    """A tensor as a view with other strides.

    Attributes:
        words: What it is.
        lay: Makes such a view, with the same numbers.
        is_given: Whether the user's is one.
    """

    words: str
    lay: Callable[[Tensor], Tensor]
    is_given: bool


def _views(given: Tensor) -> Iterator[_View]:
    """The layouts in which a tensor is passed: the user's, where it is one, and another."""
    shape, strides = given.shape, given.stride()
    if given.numel() < 2:
        return
    if not given.is_contiguous() and 0 not in strides:
        size = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))

        def as_given(it: Tensor) -> Tensor:
            base = it.new_zeros(size)
            return torch.as_strided_scatter(base, it, shape, strides).as_strided(shape, strides)

        yield _View(f"the view that was given, with strides {strides}", as_given, True)
    if given.dim() > 1 and min(shape[-2:]) > 1:
        yield _View("a transposed view", _transposed, False)
    elif given.is_floating_point():
        yield _View(
            "a slice of a larger tensor", lambda it: torch.stack([it, it + 1], -1)[..., 0], False
        )


_STRIDES = "use the strides of what is given, or begin with .contiguous()"
_OF_FORMS = {
    "strides": "use its strides, or begin with incoming = incoming.contiguous()",
    "incoming-gradient-none": "an output that is not used has the incoming gradient None, or zeros",
}


def _forms(one: Tensor, may_be_unused: bool) -> Iterator[tuple[str, str, Tensor | None]]:
    """An incoming gradient as PyTorch may pass it: in words, the mistake, and itself."""
    if one.numel() > 1:
        yield "expanded, as from a plain sum", "strides", one.new_ones(()).expand(one.shape)
        sliced = torch.stack([one, torch.zeros_like(one)], -1)[..., 0]
        yield "sliced from a larger one", "strides", sliced
    if one.dim() > 1 and min(one.shape[-2:]) > 1:
        yield "transposed", "strides", _transposed(one)
    if may_be_unused:
        yield "None, as the output is not used", "incoming-gradient-none", None


def _transposed(it: Tensor) -> Tensor:
    """A transposed view, with the same numbers."""
    return it.mT.contiguous().mT


def _largest(found: Results) -> float:
    """The size of the largest gradient."""
    some = [it for it in found.values() if it is not None and it.numel()]
    return max((float(it.abs().nan_to_num().max()) for it in some), default=0.0)


def _demand_each_alone(it: _Function) -> None:
    """Raise the mismatch where a gradient is another if it alone is needed."""
    if len(it.wanted) < 2:
        return
    _, together = it.both()
    for name in it.wanted:
        problem = "is wrong"
        try:
            _, alone = replace(it, wanted=[name]).both()
            right = alike(alone[name], together[name], it.eps(name), _largest(together))
        except GradientMismatch:
            raise
        except Exception as error:
            right, problem = False, f"raises {type(error).__name__} ({first_line_of(error)})"
        if not right:
            raise wrong(
                name,
                "needs-input-grad",
                f"the gradient of {name} {problem} where no other input needs a gradient",
                "look at what depends on ctx.needs_input_grad",
            )


# Second derivatives and the forward mode


def _directions(it: _Function) -> Tensors:
    """Random numbers for every gradient."""
    random, arrays = np.random.default_rng([it.layer.options.seed, OURS, 2]), it.layer.arrays
    return {name: like(torch.tensor(arrays[name]), random) for name in it.wanted}


def _twice(it: _Function, first: Code, tensors: Tensors) -> Tensor:
    """The sum of the gradients times random numbers, to be differentiated again.

    first: the layer's scalar, from tensors by name.
    """
    own = [tensors[name].requires_grad_() for name in it.wanted]
    found = torch.autograd.grad(first(**tensors), own, create_graph=True, allow_unused=True)
    pairs = zip(found, _directions(it).values(), strict=True)
    terms = [weighed(gradient, way) for gradient, way in pairs if gradient is not None]
    return sum(terms, torch.zeros((), dtype=torch.float64))


def _by_function(it: _Function) -> Code:
    """The scalar of the function's own outputs."""

    def scalar(**tensors: Tensor) -> Tensor:
        # of clones, as a function that works in place makes its inputs what it returns
        passed = it.passed(tensors)
        return weighed_sum(it.outputs(passed), [passed[name] for name in it.layer.outputs])

    return scalar


def _second(it: _Function, first: Code) -> Tensors:
    """Second derivatives, by inputs and incoming gradients, of what a scalar is made of."""
    names = [*it.wanted, *it.layer.outputs]
    tensors = leaves(it.layer.arrays, names)
    with same_draws(), torch.enable_grad():
        total = _twice(it, first, {name: tensor.clone() for name, tensor in tensors.items()})
        if not total.requires_grad:
            return {}
        # where it leads to no input, PyTorch does not complain
        if any(node.name() == "torch::autograd::Error" for node in way_back(total)):
            raise RuntimeError("backward is marked with @once_differentiable")
        found = torch.autograd.grad(total, [tensors[name] for name in names], allow_unused=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}


def _demand_second(it: _Function) -> None:
    try:
        right = _second(it, it.layer.scalar)
    except RuntimeError as error:
        raise blamed("the second differentiation of reference", error) from error

    def answer(_: Quantities) -> Named:
        found = _second(it, _by_function(it))
        zeros = {name: np.zeros_like(it.layer.arrays[name]) for name in right}
        return zeros | {name: g for name, g in found.items() if name in right}

    if right:
        _as_mistake(
            it,
            answer,
            "the function's double backward",
            "second-derivative",
            "the second derivative",
            "save what backward uses with ctx.save_for_backward, and compute with it in torch; "
            "or mark backward with @once_differentiable",
        )


def _second_remark(it: _Function) -> Iterator[str]:
    """A remark where second derivatives are wrong without an error."""
    with suppress(Exception):  # a backward, or a reference, that refuses to be differentiated
        right, found = _second(it, it.layer.scalar), _second(it, _by_function(it))
        for name, gradient in right.items():
            apart = found.get(name, torch.zeros_like(gradient)) - gradient
            least = max(1e-3, 100 * torch.finfo(gradient.dtype).eps)
            if float(apart.abs().max()) > least * float(gradient.abs().max()):
                yield (
                    f"the function's second derivative ({name}) is wrong without an error: mark "
                    "backward with @once_differentiable, or check it with orders=2"
                )
                return


def _demand_forward_mode(it: _Function) -> None:
    layer = it.layer

    def answer(_: Quantities) -> Named:
        tensors = {name: torch.tensor(array) for name, array in layer.arrays.items()}
        with same_draws(), forward_ad.dual_level():
            dual = {
                name: forward_ad.make_dual(tensors[name], way)
                for name, way in _directions(it).items()
            }
            outputs = it.outputs(layer.known.for_torch(tensors | dual, layer.options.device))
            tangents = [forward_ad.unpack_dual(output).tangent for output in outputs]
        return {
            name: np.zeros_like(layer.arrays[name]) if tangent is None else tangent
            for name, tangent in zip(layer.outputs, tangents, strict=True)
        }

    _as_mistake(
        it,
        answer,
        "the function's jvp",
        "forward-mode",
        "the forward-mode derivative",
        "derive jvp from the formula of forward: the sum of ∂output/∂input · tangent",
    )


def _as_mistake(
    it: _Function, answer: Code, who: str, mistake: str, what: str, remedy: str
) -> None:
    """Check derivatives of the gradients, whatever is wrong with which gets the name of a mistake.

    Args:
        it: The function.
        answer: Gives the derivatives, by name.
        who: What computes them, in words.
        mistake: The name.
        what: What they are, in words.
        remedy: What to do.
    """
    layer = it.layer

    def reference(**tensors: Tensor) -> Tensor:
        return _twice(it, layer.scalar, tensors)

    try:
        checked(layer.known, answer, reference, layer.options, it, who)
    except GradientMismatch as error:
        found = [
            Diagnosis(name, mistake, f"{what} by {name} is wrong: {its['says']}", remedy)
            for its in error.diagnoses
            for name in [its["quantity"]]
        ]
        title, *lines = error.head
        first = Entry(**error.first_mismatch)
        raise mismatch(first, [f"{what}, by {title}", *lines], found) from None
    except ValueError as error:
        raise wrong(what, mistake, f"{what} can't be had: {error}", remedy) from error
