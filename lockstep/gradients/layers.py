"""check_function and check_layer: a layer's forward and backward, for any incoming gradient.

The layer becomes a scalar: the sum of its outputs times random incoming gradients. Its gradient by
an incoming gradient is the output itself, so one check covers the forward and the backward pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from lockstep.errors import first_line_of
from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.check import REPORTED, Code, Options, as_function, checked, taken_out
from lockstep.gradients.inputs import Given, flat, given
from lockstep.gradients.measured import Unsteady
from lockstep.gradients.reference import (
    as_array,
    asked,
    at_once,
    blamed,
    clones,
    floating,
    gradients,
    leaves,
    same,
    same_draws,
    way_back,
)
from lockstep.gradients.result import CheckResult, GradientMismatch, mismatch
from lockstep.network.names import Array, Quantities
from lockstep.run.record import Entry
from lockstep.run.threads import threads
from lockstep.text import counted

_OURS = 0x10C57E9  # no input drawn by the user has the numbers of an incoming gradient
_ALIKE = 2.0**14  # units in the last place between two runs on the same numbers


def check_function(
    function: Any,
    reference: Code,
    /,
    *,
    orders: int = 1,
    jvp: bool = False,
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
    expanded, transposed, sliced or missing; that nothing given is overwritten; that every input
    may be the only one that needs a gradient; that further calls give the same.

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
        chosen = dict(
            rtol=rtol, atol=atol, seed=seed, device=device, diagnose=diagnose, time_limit=time_limit
        )
        options = taken_out(reference, chosen, inputs)
        with threads(1):
            return _checked_function(function, reference, inputs, options, orders, jvp)
    except REPORTED as error:
        raise error.with_traceback(None) from error.__cause__


def check_layer(
    forward: Code,
    backward: Code,
    reference: Code,
    /,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    diagnose: bool = True,
    time_limit: float = 10.0,
    **inputs: Any,
) -> CheckResult:
    """Check a layer as a pair of functions: forward returns (out, cache), backward the gradients.

    Args:
        forward: Gets the inputs by name, as NumPy arrays, and returns the output, or a tuple of
            outputs, and a cache of any kind.
        backward: Gets the incoming gradient (a tuple of them for a tuple of outputs) and the cache.
            It returns a dict of gradients by input name, or a tuple in the order of the inputs;
            None for an input that has none.
        reference: Gets the inputs by name, as tensors, and returns the output, or the outputs.
        rtol, atol, seed, diagnose, time_limit: As for `check_gradients`.
        inputs: As for `check_gradients`.

    Returns:
        A match, with how fine the check could see; `print` it.

    Raises:
        GradientMismatch: A gradient or an output is wrong.
        ValueError, TypeError: As for `check_gradients`.

    Examples:
        >>> import numpy as np
        >>> from lockstep import check_layer
        >>> def forward(x, w):
        ...     return x @ w, (x, w)
        >>> def backward(dout, cache):
        ...     x, w = cache
        ...     return dout @ w.T, x.T @ dout
        >>> random = np.random.default_rng(0)
        >>> x, w = random.normal(size=(4, 3)), random.normal(size=(3, 2))
        >>> check_layer(forward, backward, lambda x, w: x @ w, x=x, w=w).verdict
        'match'
    """
    __tracebackhide__ = True
    try:
        chosen = dict(rtol=rtol, atol=atol, seed=seed, diagnose=diagnose, time_limit=time_limit)
        options = taken_out(reference, {"device": "cpu"} | chosen, inputs)
        with threads(1):
            return _checked_layer(forward, backward, reference, inputs, options)
    except REPORTED as error:
        raise error.with_traceback(None) from error.__cause__


@dataclass
class _Layer:
    """A layer as a scalar.

    Attributes:
        known: The inputs and the incoming gradients.
        outputs: The names of outputs that are compared, which are those of incoming gradients.
        numbers: Which of the layer's outputs these are.
        given: How many outputs the reference gives.
        scalar: The reference as a scalar, from tensors by name.
        options: How it is checked.
    """

    known: Given
    outputs: list[str]
    numbers: list[int]
    given: int
    scalar: Code
    options: Options

    def incoming(self) -> list[Array]:
        return [self.known.arrays[name] for name in self.outputs]

    def miscounted(self, results: list[Any], which: str = "") -> ValueError:
        """What to raise for another number of outputs. which: what is said of them."""
        return ValueError(
            f"forward returned {counted(len(results), 'output')}{which}; "
            f"the reference gives {self.given}; expected as many"
        )

    def without_incoming(self, passed: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in passed.items() if name not in self.outputs}


def _as_scalar(
    reference: Code, inputs: dict[str, Any], options: Options, skipped: list[int] | None
) -> _Layer:
    """The layer, with a random incoming gradient for every output that is compared."""
    plain = given(inputs)
    function = as_function(reference, plain, options)
    with same_draws() as marks:
        for wanted in ([], floating(plain.arrays)):  # of Python's numbers alone it makes others
            results = _several(asked(function, clones(plain.arrays, wanted)))
            if any(isinstance(result, Tensor) for result in results):
                break
    compared = _compared(results, skipped or [], {*inputs, *marks})
    random = np.random.default_rng([options.seed, _OURS])
    weights = {name: _like(results[k], random) for name, k in compared.items()}

    def scalar(**passed: Any) -> Tensor:
        incoming = [passed.pop(name) for name in compared]
        results = _several(reference(**passed))
        return _weighed_sum([results[k] for k in compared.values()], incoming)

    known = given(weights | inputs)
    as_scalar = as_function(scalar, known, options)
    return _Layer(known, list(compared), list(compared.values()), len(results), as_scalar, options)


def _compared(results: list[Any], skipped: list[int], taken: set[str]) -> dict[str, int]:
    """Names for the reference's outputs that are compared, and which these are.

    taken: names of inputs and of marks, which no output may have.
    """
    names = {}
    for k, result in enumerate(results):
        if not isinstance(result, Tensor):
            kind = type(result).__name__
            raise TypeError(f"reference gives {kind}; expected a tensor, or several")
        if k not in skipped and (result.is_floating_point() or result.is_complex()):
            name = f"output_{k}" if len(results) > 1 else "output"
            while name in taken:
                name += "_"
            names[name] = k
    if not names:
        raise TypeError("reference gives no floating-point output; expected one to differentiate")
    return names


def _like(output: Tensor, random: np.random.Generator) -> Tensor:
    """Random numbers in the shape and the dtype of an output."""
    numbers = random.normal(size=output.shape)
    if output.is_complex():
        numbers = numbers + 1j * random.normal(size=output.shape)
    return torch.from_numpy(np.asarray(numbers)).to(output.dtype)


def _weighed(output: Tensor, weight: Tensor) -> Tensor:
    """The scalar whose gradient by the output is the weight, and by the weight the output."""
    total = (output * weight.conj()).sum()
    return total.real if total.is_complex() else total


def _weighed_sum(outputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    """A layer's scalar from its outputs, and their incoming gradients."""
    return torch.stack([_weighed(o, w) for o, w in zip(outputs, weights, strict=True)]).sum()


def _several(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def _wrong(name: str, mistake: str, says: str, remedy: str) -> GradientMismatch:
    """A mismatch that is no element's."""
    diagnosis = Diagnosis(name, mistake, says, remedy)
    return mismatch(Entry(1, name, None, name), [f"{name}: mismatch"], [diagnosis])


def _checked_twice(answer: Code, layer: _Layer, it: Any, who: str) -> CheckResult:
    """The check of both passes; another answer at a later call is a mismatch."""
    try:
        return checked(layer.known, answer, layer.scalar, layer.options, it, who, layer.outputs)
    except Unsteady as error:
        if error.who == "reference":
            raise
        mistake = "gradients-accumulated" if error.doubled else "unknown"
        says = f"{who} gives another gradient of {error.gradient} when it is called again"
        more = ", twice the first" if error.doubled else ""
        remedy = "keep nothing from one call to the next"
        raise _wrong(error.gradient, mistake, says + more, remedy) from None


# Functions


@dataclass
class _Function:
    """A Function that is called by the names of its inputs.

    Attributes:
        layer: It as a scalar.
        apply: From arguments by name to the outputs.
        wanted: The names of arrays that are differentiated.
    """

    layer: _Layer
    apply: Callable[[dict[str, Any]], list[Any]]
    wanted: list[str]

    def both(
        self,
        incoming: list[Any] | None = None,
        wanted: list[str] | None = None,
        arrays: Quantities | None = None,
    ) -> tuple[list[Tensor], dict[str, Tensor | None]]:
        """The outputs and the gradients; nothing that is given may be overwritten.

        incoming: Gradients of the outputs, None for one that is not used; else the layer's.
        arrays: Other inputs.
        """
        layer, names = self.layer, self.wanted if wanted is None else wanted
        tensors = leaves(arrays or layer.known.arrays, names)
        with same_draws(), torch.enable_grad():
            passed = layer.known.for_torch(
                {name: tensor.clone() for name, tensor in tensors.items()}, layer.options.device
            )
            before = _tensors(layer.without_incoming(passed))
            copies = {name: tensor.detach().clone() for name, tensor in before.items()}
            outputs = self._outputs(passed)
            self._demand_unchanged("forward", before, copies, outputs)
            if incoming is None:
                incoming = [passed[name] for name in layer.outputs]
            used = [k for k, given in enumerate(incoming) if given is not None]
            clones = [incoming[k].detach().clone() for k in used]
            found = torch.autograd.grad(
                [outputs[k] for k in used],
                [tensors[name] for name in names],
                [incoming[k] for k in used],
                allow_unused=True,
            )
            self._demand_unchanged("backward", before, copies, outputs)
            for k, clone in zip(used, clones, strict=True):
                if not torch.equal(incoming[k], clone):
                    raise _wrong(
                        layer.outputs[k],
                        "input-changed",
                        "backward overwrites the incoming gradient, which PyTorch may need "
                        "elsewhere",
                        "work on a copy: incoming = incoming.clone()",
                    )
        return [output.detach() for output in outputs], dict(zip(names, found, strict=True))

    def _outputs(self, passed: dict[str, Any]) -> list[Tensor]:
        """The outputs that are compared, in their right shapes."""
        layer = self.layer
        results = self.apply(layer.without_incoming(passed))
        if len(results) <= max(layer.numbers):
            raise layer.miscounted(results)
        if any(getattr(more, "requires_grad", False) for more in results[layer.given :]):
            raise layer.miscounted(results, " that can be differentiated")
        outputs = [results[k] for k in layer.numbers]
        for name, output, weight in zip(layer.outputs, outputs, layer.incoming(), strict=True):
            if tuple(output.shape) != weight.shape:
                raise _wrong(
                    name,
                    "wrong-shape",
                    f"{name} has shape {tuple(output.shape)}; the reference gives {weight.shape}",
                    "return the output in the shape that the reference gives",
                )
        return outputs

    def _demand_unchanged(
        self,
        which: str,
        before: dict[str, Tensor],
        copies: dict[str, Tensor],
        outputs: list[Tensor],
    ) -> None:
        for name, tensor in before.items():
            returned = any(tensor is output for output in outputs)  # marked as dirty
            if not returned and not same(tensor, copies[name]):
                raise _wrong(
                    name,
                    "input-changed",
                    f"{which} overwrites the input {name}",
                    "work on a copy of it, or mark it with ctx.mark_dirty",
                )

    def answer(self, arrays: Quantities) -> dict[str, Any]:
        outputs, found = self.both(arrays=arrays)
        zeros = {name: np.zeros_like(self.layer.known.arrays[name]) for name in found}
        right = {name: gradient for name, gradient in found.items() if gradient is not None}
        return dict(zip(self.layer.outputs, outputs, strict=True)) | zeros | right


def _tensors(passed: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors in what is passed, by name."""
    if isinstance(passed, Tensor):
        return {name: passed}
    items: Any = ()
    if isinstance(passed, dict):
        items = ((f"{name}[{key!r}]" if name else key, value) for key, value in passed.items())
    elif isinstance(passed, list | tuple):
        items = ((f"{name}[{i}]", value) for i, value in enumerate(passed))
    return {each: tensor for key, value in items for each, tensor in _tensors(value, key).items()}


def _checked_function(
    function: Any, reference: Code, inputs: dict[str, Any], options: Options, orders: int, jvp: bool
) -> CheckResult:
    apply = _bound(function, list(inputs))
    plain = given(inputs)
    floats = _differentiable(plain)
    marked = [name for name, tensor in _tensors(inputs).items() if tensor.requires_grad]
    floats = [name for name in floats if name in marked] if marked else floats
    skipped = _not_differentiable(apply, plain, floats, options)
    layer = _as_scalar(reference, inputs, options, skipped)
    it = _Function(layer, apply, floats)
    it.wanted = _reached(it, floats)
    result = _checked_twice(it.answer, layer, it, "the function")
    _demand_any_incoming(it)
    _demand_each_alone(it)
    if orders == 2:
        _demand_second(it, options)
    else:
        result.remarks += _second_remark(it)
    if jvp:
        _demand_forward_mode(it, options)
    return result


def _bound(function: Any, names: list[str]) -> Callable[[dict[str, Any]], list[Any]]:
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
    if arguments and not is_module and getattr(owner, "setup_context", own_setup) is own_setup:
        arguments = arguments[1:]  # without ctx
    known = [argument.name for argument in arguments]
    if not set(names) <= set(known):
        return lambda passed: _several(apply(*(passed[name] for name in names)))
    last = max((known.index(name) for name in names), default=-1)
    order = arguments[: last + 1]
    for argument in arguments:
        needed = argument.default is argument.empty and argument.kind is not argument.VAR_POSITIONAL
        if needed and argument.name not in names:
            raise ValueError(
                f"forward's argument {argument.name!r} is missing; expected it as an input"
            )

    def call(passed: dict[str, Any]) -> list[Any]:
        values = (passed.get(argument.name, argument.default) for argument in order)
        return _several(apply(*values))

    return call


def _not_differentiable(
    apply: Callable[[dict[str, Any]], list[Any]], plain: Given, floats: list[str], options: Options
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
    arrays, scalar = it.layer.known.arrays, it.layer.scalar
    try:
        found = gradients(scalar, arrays, [*floats, *it.layer.outputs])
        return [name for name in floats if name in found]
    except ValueError:
        _, by_function = it.both()
        return [name for name in floats if by_function[name] is not None]


def _demand_any_incoming(it: _Function) -> None:
    """Raise the mismatch where an incoming gradient in another form gives another gradient."""
    for k, name in enumerate(it.layer.outputs):
        for form, mistake, incoming in _forms(it, k):
            plain = [
                torch.zeros_like(weight) if one is None else one.detach().clone().contiguous()
                for one, weight in zip(incoming, _forms_base(it), strict=True)
            ]
            _, right = it.both(plain)
            try:
                _, found = it.both(incoming)
            except GradientMismatch:
                raise
            except Exception as error:
                raise _wrong(
                    name,
                    mistake,
                    f"backward raises {type(error).__name__} for an incoming gradient of {name} "
                    f"that is {form}: {first_line_of(error)}",
                    _OF_FORMS[mistake],
                ) from error
            for each, gradient in found.items():
                if not _alike(gradient, right[each]):
                    raise _wrong(
                        each,
                        mistake,
                        f"the gradient of {each} is wrong where the incoming gradient of {name} "
                        f"is {form}; with the same numbers in a plain tensor it is right",
                        _OF_FORMS[mistake],
                    )


_OF_FORMS = {
    "strides": "use its strides, or begin with incoming = incoming.contiguous()",
    "incoming-gradient-none": "an output that is not used has the incoming gradient None, or zeros",
}


def _forms_base(it: _Function) -> list[Tensor]:
    device = it.layer.options.device
    kinds = it.layer.known.kinds
    return [
        torch.tensor(it.layer.known.arrays[name]).to(device, kinds.get(name))
        for name in it.layer.outputs
    ]


def _forms(it: _Function, k: int) -> Iterator[tuple[str, str, list[Tensor | None]]]:
    """Incoming gradients as PyTorch may pass them: in words, the mistake, and all of them."""
    base: list[Tensor | None] = list(_forms_base(it))
    one = base[k]
    assert one is not None
    others = base[:k], base[k + 1 :]
    if one.numel() > 1:
        expanded = one.new_ones(()).expand(one.shape)
        yield "expanded, as from a plain sum", "strides", [*others[0], expanded, *others[1]]
        wider = one.new_zeros((*one.shape, 2))
        wider[..., 0] = one
        yield "sliced from a larger one", "strides", [*others[0], wider[..., 0], *others[1]]
    if one.dim() > 1 and min(one.shape[-2:]) > 1:
        turned = one.mT.contiguous().mT
        yield "transposed", "strides", [*others[0], turned, *others[1]]
    if len(base) > 1:
        none = "None, as the output is not used"
        yield none, "incoming-gradient-none", [*others[0], None, *others[1]]


def _alike(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two runs on the same numbers agree."""
    if one is None or other is None:
        present = one if one is not None else other
        return present is None or not bool(present.any())
    apart = (one - other).abs().nan_to_num()
    whole = other.abs().nan_to_num().max() if other.numel() else other.new_zeros(())
    return bool((apart <= _ALIKE * torch.finfo(one.dtype).eps * whole).all())


def _demand_each_alone(it: _Function) -> None:
    """Raise the mismatch where a gradient is another if it alone is needed."""
    if len(it.wanted) < 2:
        return
    _, together = it.both()
    for name in it.wanted:
        try:
            _, alone = it.both(wanted=[name])
            right, problem = _alike(alone[name], together[name]), "is wrong"
        except GradientMismatch:
            raise
        except Exception as error:
            right, problem = False, f"raises {type(error).__name__} ({first_line_of(error)})"
        if not right:
            raise _wrong(
                name,
                "needs-input-grad",
                f"the gradient of {name} {problem} where no other input needs a gradient",
                "look at what depends on ctx.needs_input_grad",
            )


# Second derivatives and the forward mode


@dataclass
class _Twice:
    """The sum of the gradients times random numbers, to be differentiated again."""

    layer: _Layer
    wanted: list[str]

    def directions(self) -> dict[str, Tensor]:
        random = np.random.default_rng([self.layer.options.seed, _OURS, 2])
        arrays = self.layer.known.arrays
        return {name: _like(torch.tensor(arrays[name]), random) for name in self.wanted}

    def reference(self, /, **tensors: Tensor) -> Tensor:
        return self.scalar(self.layer.scalar, tensors)

    def scalar(self, first: Code, tensors: dict[str, Tensor]) -> Tensor:
        """first: the layer's scalar, from tensors by name."""
        leaves = {
            name: tensors[name] if tensors[name].requires_grad else tensors[name].requires_grad_()
            for name in self.wanted
        }
        found = torch.autograd.grad(
            first(**tensors), list(leaves.values()), create_graph=True, allow_unused=True
        )
        ways = self.directions()
        terms = [
            _weighed(gradient, ways[name])
            for name, gradient in zip(self.wanted, found, strict=True)
            if gradient is not None
        ]
        total = sum(terms, torch.zeros((), dtype=torch.float64))
        assert isinstance(total, Tensor)
        return total


def _by_function(it: _Function) -> Code:
    """The scalar of the function's own outputs."""

    def scalar(**tensors: Tensor) -> Tensor:
        passed = it.layer.known.for_torch(tensors, it.layer.options.device)
        return _weighed_sum(it._outputs(passed), [passed[name] for name in it.layer.outputs])

    return scalar


def _second(it: _Function, first: Code) -> dict[str, Tensor]:
    """Second derivatives, by inputs and incoming gradients, of what a scalar is made of."""
    twice = _Twice(it.layer, it.wanted)
    names = [*it.wanted, *it.layer.outputs]
    tensors = leaves(it.layer.known.arrays, names)
    with same_draws(), torch.enable_grad():
        total = twice.scalar(first, {name: tensor.clone() for name, tensor in tensors.items()})
        if not total.requires_grad:
            return {}
        # where it leads to no input, PyTorch does not complain
        if any(node.name() == "torch::autograd::Error" for node in way_back(total)):
            raise RuntimeError("backward is marked with @once_differentiable")
        found = torch.autograd.grad(total, [tensors[name] for name in names], allow_unused=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}


def _demand_second(it: _Function, options: Options) -> None:
    try:
        right = _second(it, it.layer.scalar)
    except RuntimeError as error:
        raise blamed("the second differentiation of reference", error) from error

    def answer(_: Quantities) -> dict[str, Any]:
        found = _second(it, _by_function(it))
        zeros = {name: np.zeros_like(it.layer.known.arrays[name]) for name in right}
        return zeros | {name: g for name, g in found.items() if name in right}

    if not right:
        return
    _as_mistake(
        "second-derivative",
        "the second derivative",
        lambda: checked(
            it.layer.known,
            answer,
            _Twice(it.layer, it.wanted).reference,
            options,
            it,
            "the function's double backward",
        ),
    )


def _second_remark(it: _Function) -> Iterator[str]:
    """A remark where second derivatives are wrong without an error."""
    with suppress(Exception):  # a backward, or a reference, that refuses to be differentiated
        right, found = _second(it, it.layer.scalar), _second(it, _by_function(it))
        for name, gradient in right.items():
            mine = found.get(name, torch.zeros_like(gradient))
            least = max(1e-3, 100 * torch.finfo(gradient.dtype).eps)
            if float((mine - gradient).abs().max()) > least * float(gradient.abs().max()):
                yield (
                    f"the function's second derivative ({name}) is wrong without an error: mark "
                    "backward with @once_differentiable, or check it with orders=2"
                )
                return


def _demand_forward_mode(it: _Function, options: Options) -> None:
    twice = _Twice(it.layer, it.wanted)

    def answer(_: Quantities) -> dict[str, Any]:
        tensors = {name: torch.tensor(array) for name, array in it.layer.known.arrays.items()}
        with same_draws(), forward_ad.dual_level():
            dual = {
                name: forward_ad.make_dual(tensors[name], way)
                for name, way in twice.directions().items()
            }
            outputs = it._outputs(it.layer.known.for_torch(tensors | dual, options.device))
            tangents = [forward_ad.unpack_dual(output).tangent for output in outputs]
        return {
            name: np.zeros_like(weight) if tangent is None else tangent
            for name, weight, tangent in zip(
                it.layer.outputs, it.layer.incoming(), tangents, strict=True
            )
        }

    _as_mistake(
        "forward-mode",
        "the forward-mode derivative",
        lambda: checked(it.layer.known, answer, twice.reference, options, it, "the function's jvp"),
    )


_REMEDIES = {
    "second-derivative": "save what backward uses with ctx.save_for_backward, and compute with it "
    "in torch; or mark backward with @once_differentiable",
    "forward-mode": "derive jvp from the formula of forward: the sum of ∂output/∂input · tangent",
}


def _as_mistake(mistake: str, what: str, check: Callable[[], object]) -> None:
    """A mismatch, or a failure, of a check gets the name of one mistake."""
    try:
        check()
    except GradientMismatch as error:
        first = Entry(**error.first_mismatch)
        found = [
            Diagnosis(
                d["quantity"],
                mistake,
                f"{what} by {d['quantity']} is wrong: {d['says']}",
                _REMEDIES[mistake],
            )
            for d in error.diagnoses
        ]
        lines = [line for line in str(error).split("\n") if not line.startswith("  mistake")][:4]
        raise mismatch(first, [f"{what}, by {lines[0]}", *lines[1:]], found) from None
    except ValueError as error:
        raise _wrong(what, mistake, f"{what} can't be had: {error}", _REMEDIES[mistake]) from error


# Layers as pairs of functions


def _checked_layer(
    forward: Code, backward: Code, reference: Code, inputs: dict[str, Any], options: Options
) -> CheckResult:
    layer = _as_scalar(reference, inputs, options, None)
    overwritten = False

    def answer(arrays: Quantities, form: Callable[[Array], Array] = np.array) -> dict[str, Any]:
        nonlocal overwritten
        arguments = layer.without_incoming(layer.known.for_hand(arrays))
        incoming = tuple(form(arrays[name]) for name in layer.outputs)
        result = at_once("forward", forward(**arguments))
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError("forward returned no pair; expected (out, cache)")
        several = isinstance(result[0], tuple | list)
        outputs = _several(result[0])
        if len(outputs) != layer.given:
            raise layer.miscounted(outputs)
        found = at_once("backward", backward(incoming if several else incoming[0], result[1]))
        gradients = flat(_by_input(found, list(inputs)), layer.known)
        gradients = {name: value for name, value in gradients.items() if value is not None}
        if not gradients:
            raise ValueError("backward returned no gradient; expected at least one")
        for name, mine in zip(layer.outputs, incoming, strict=True):
            overwritten |= not np.array_equal(arrays[name], mine)
        own = dict(zip(layer.outputs, (outputs[k] for k in layer.numbers), strict=True))
        return own | gradients

    result = _checked_twice(answer, layer, answer, "the layer")
    plain = {name: as_array(value) for name, value in answer(layer.known.arrays).items()}
    for form, words in _ARRAY_FORMS:
        found = answer(layer.known.arrays, form)
        for name, value in plain.items():
            if not _alike(_tensor(found[name]), _tensor(value)):
                raise _wrong(
                    name,
                    "strides",
                    f"the gradient of {name} is wrong where the incoming gradient is {words}; "
                    "with the same numbers in a plain array it is right",
                    "use its strides, or begin with dout = np.ascontiguousarray(dout)",
                )
    left = [name for name in _differentiable(layer.known) if name not in plain]
    if left:
        result.remarks.append(
            f"backward gives no gradient of {', '.join(left)}, so none was checked"
        )
    if overwritten:
        result.remarks.append(
            "backward overwrites the incoming gradient: work on a copy if it is needed elsewhere"
        )
    return result


def _differentiable(known: Given) -> list[str]:
    """The names of what can be differentiated, Python's own numbers left out."""
    return [name for name in floating(known.arrays) if name not in known.numbers]


def _tensor(value: Any) -> Tensor:
    return torch.from_numpy(np.array(as_array(value), order="C"))


def _by_columns(array: Array) -> Array:
    return np.asfortranarray(array) if array.ndim else array.copy()


def _sliced(array: Array) -> Array:
    wider = np.zeros((*array.shape, 2), array.dtype)
    wider[..., 0] = array
    return wider[..., 0]


_ARRAY_FORMS: tuple[tuple[Callable[[Array], Array], str], ...] = (
    (_by_columns, "stored by columns"),
    (_sliced, "sliced from a larger one"),
)


def _by_input(found: Any, names: list[str]) -> dict[str, Any]:
    """What backward returned, by the names of inputs; dx is understood for x."""
    if isinstance(found, dict):
        return {
            key[1:] if key not in names and key[1:] in names and key[:1] == "d" else key: value
            for key, value in found.items()
            if value is not None
        }
    values = list(found) if isinstance(found, tuple | list) else [found]
    if len(values) > len(names):
        raise ValueError(
            f"backward returned {len(values)} gradients; expected at most {len(names)}, "
            f"in the order of the inputs: {', '.join(names)}"
        )
    return {name: value for name, value in zip(names, values, strict=False) if value is not None}
