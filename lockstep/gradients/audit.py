"""audit: what the tolerance of an existing test lets through.

Right gradients are compared with wrong ones by the test's own rule: zeros, a constant, stale
values, each tensor in turn, and with the mistakes of the catalogue, each planted in the
reference's way back. What passes, the test would not have found.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.errors import first_line_of
from lockstep.gradients.check import REPORTED, Code, Options
from lockstep.gradients.edits import planted
from lockstep.gradients.inputs import digest, given
from lockstep.gradients.ladder import precision_of, unit
from lockstep.gradients.measured import Check
from lockstep.gradients.reference import Noise, blamed, floating, gradients, widened
from lockstep.gradients.scalar import Layer, as_scalar
from lockstep.network.names import Array, Quantities
from lockstep.run.threads import threads
from lockstep.text import columns, counted

Rule = Callable[[Tensor, Tensor], Any]
_PLAIN = ("zeros", "constant", "stale")  # what no test should let through
_SEED = 0xA0D17
_TESTS = 3  # draws of inputs and incoming gradients, by which a tolerance is suggested
_NOISES = 4  # draws of noise
_ROOM = 2.0  # times the largest error of a right kernel that was seen
_ROUNDINGS = 4  # unit roundoffs of a value that a suggested tolerance allows
_WORDS = 80  # characters of an example
_SIZES = np.logspace(-14, 6, 61)  # of errors, among which the smallest that is seen is looked for


@dataclass
class Planted:
    """How many of one mistake's plants pass.

    Attributes:
        tried: How many were planted.
        passed: How many the rule lets through.
        example: One that passes, in words; with its error, relative to the gradients.
    """

    tried: int = 0
    passed: int = 0
    example: str = ""
    error: float = 0.0


@dataclass
class AuditResult:
    """What a rule lets through; it prints as a report.

    Attributes:
        passes: The names of what passes: `zeros`, `constant`, `stale`, or a mistake's.
        smallest: By tensor the smallest relative error that the rule sees, of all its numbers
            alike; inf where it sees none.
        suggested: `rtol` and `atol` that let a right kernel through, and the least of the rest.
        suggested_passed: How many wrong gradients these would let through.
        planted: By name how many were tried, how many pass, and an example.
        precision: In which the rule compares.
        seed: Of what was drawn.
        inputs: A digest of the inputs.
        remarks: Sentences.
    """

    passes: list[str]
    smallest: dict[str, float]
    suggested: dict[str, float]
    suggested_passed: int
    planted: dict[str, Planted]
    precision: str
    seed: int
    inputs: str
    remarks: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The result for other programs."""
        smallest = {name: None if math.isinf(it) else it for name, it in self.smallest.items()}
        return asdict(self) | {"smallest": smallest}

    def __str__(self) -> str:
        tried = sum(it.tried for it in self.planted.values())
        passed = sum(it.passed for it in self.planted.values())
        plain = [name for name in _PLAIN if name in self.passes]
        head = f"the rule lets through {passed} of {counted(tried, 'wrong gradient')}"
        head += f"; among them {', '.join(plain)}" if plain else ""
        worst = max(self.smallest.values())
        below = "of any size" if math.isinf(worst) else f"below {worst:.1g} of it"
        lines = [f"{head}; a factor that puts a tensor off by an error {below} passes."]
        rows = [["planted", "tried", "passed", "such as"]]
        for name, it in self.planted.items():
            example = f"off by {it.error:.1g}: {_short(it.example)}" if it.passed else ""
            rows.append([name, str(it.tried), str(it.passed), example])
        lines += columns(rows, "<>><")
        for name, error in self.smallest.items():
            least = "no error at all" if math.isinf(error) else f"an error of {error:.1g} of it"
            lines.append(f"  {name}: the rule sees {least}")
        rtol, atol = self.suggested["rtol"], self.suggested["atol"]
        lines.append(
            f"rtol={rtol:.2g}, atol={atol:.2g} would have let a right kernel in {self.precision} "
            f"through, and {self.suggested_passed} of these wrong gradients."
        )
        return "\n".join([*lines, *(f"remark: {it}" for it in self.remarks)])


def audit(
    reference: Code,
    inputs: Any,
    rule: Rule | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    time_limit: float = 60.0,
) -> AuditResult:
    """What a test's tolerance lets through, of gradients of the reference.

    Args:
        reference: Gets the inputs by name, as tensors. It returns a tensor, or several; of one that
            is no scalar the gradient is taken by a random incoming gradient.
        inputs: A dict of them, as the test draws them, or a function of a seed that gives one.
        rule: Of two tensors, yours and the expected one, in the precision of the inputs: whether
            the test passes. One that raises AssertionError does not let it pass.
        rtol, atol: In place of a rule: those of `torch.testing.assert_close`.
        seed: Of what is drawn.
        time_limit: Seconds in which mistakes are planted.

    Returns:
        What passes, and how small an error the rule sees; `print` it.

    Raises:
        ValueError: There is no rule, or several; or something cannot be used.
        TypeError: The inputs are no dict, or hold nothing that can be differentiated.

    Examples:
        >>> import torch
        >>> from lockstep import audit
        >>> x = torch.linspace(-2, 2, 64).bfloat16()
        >>> found = audit(torch.nn.functional.silu, {"input": x}, atol=1e4, rtol=1e-2)
        >>> found.passes[:2]
        ['zeros', 'constant']
    """
    __tracebackhide__ = True
    try:
        if (rule is None) == (rtol is None and atol is None):
            raise ValueError("expected a rule, or rtol and atol")
        for name, value in (("rtol", rtol), ("atol", atol)):
            if value is not None and not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ValueError(f"{name} is {value!r}; expected a finite number, 0 or more")
        tells = rule or _close(rtol or 0.0, atol or 0.0)
        with threads(1):
            return _audited(reference, inputs, tells, seed, time_limit)
    except REPORTED as error:
        raise error.with_traceback(None) from error.__cause__


def _close(rtol: float, atol: float) -> Rule:
    """The rule of torch.testing.assert_close."""
    return lambda actual, expected: torch.allclose(actual, expected, rtol, atol, equal_nan=True)


def _with_incoming(says: str, outputs: list[str]) -> str:
    """A sentence in which the incoming gradients are called that: they are no one's variables."""
    names = "|".join(map(re.escape, outputs))
    says = re.sub(rf"`… \* ({names})` in .*?, line \d+( \(.*?\)+)?", "the product with it", says)
    return re.sub(rf"(?<![\w`])({names})(?!\w)", "the incoming gradient", says)


def _short(text: str) -> str:
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 1]}…"


@dataclass(frozen=True)
class _Test:
    """A test as it stands: the right gradients of some inputs, and its rule."""

    layer: Layer
    right: Quantities
    kinds: dict[str, torch.dtype]
    rule: Rule

    @cached_property
    def wide(self) -> Check:
        """The reference in float64."""
        arrays = {name: widened(array) for name, array in self.layer.known.arrays.items()}
        return Check(None, self.layer.wide, arrays, [*self.right], [*self.right])

    @cached_property
    def exact(self) -> Quantities:
        """The gradients in float64."""
        return self.wide.torch()

    @property
    def precision(self) -> str:
        """The coarsest of the inputs."""
        coarsest = max(self.kinds.values(), key=lambda it: torch.finfo(it).eps)
        return precision_of(coarsest)

    def passes(self, wrong: Quantities) -> bool:
        """Whether the rule lets all tensors through, those that are not given being right."""
        return all(self.agrees(name, wrong.get(name, right)) for name, right in self.right.items())

    def agrees(self, name: str, own: Array) -> bool:
        """Whether the rule lets one tensor through, in the precision of its input."""
        actual, expected = (
            torch.tensor(it).to(self.kinds[name]) for it in (own, self.right[name])
        )  # copies, as a rule may work in place
        try:
            found = self.rule(actual, expected)
        except AssertionError:
            return False
        except Exception as error:
            raise blamed("the rule", error) from error
        except BaseException as error:
            if type(error).__name__ != "Failed":  # that of pytest.fail
                raise
            return False
        if isinstance(found, Tensor | np.ndarray | np.generic):
            if math.prod(found.shape) != 1:
                shape = tuple(found.shape)
                raise ValueError(f"the rule gives numbers of shape {shape}; expected True or False")
            found = bool(found)
        if not (found is None or isinstance(found, bool)):
            raise ValueError(f"the rule gives {found!r}; expected True or False")
        return found is None or found


def _audited(reference: Code, inputs: Any, rule: Rule, seed: int, seconds: float) -> AuditResult:
    draws = [_drawn(inputs, seed + n) for n in range(_TESTS)]
    tests = [_test(reference, it, rule, seed + n) for n, it in enumerate(draws)]
    test, other, *_ = tests
    tolerances = list(_tolerances(tests))
    rivals = [replace(test, rule=_close(**it)) for it in tolerances]
    passed = [0] * len(rivals)
    found: dict[str, Planted] = defaultdict(Planted)

    def note(name: str, wrong: Quantities, says: str) -> None:
        if _note(found[name], test, wrong, says):
            for n, it in enumerate(rivals):
                passed[n] += it.passes(wrong)

    if not callable(inputs):
        other = _test(reference, _redrawn(draws[0], seed), rule, seed + 1)
    for name, wrong in _plain(test, other.right):
        note(name, wrong, "")
    smallest = {name: _smallest(test, name) for name in test.right}
    remarks = list(_one_sided(test, smallest))
    deadline = time.monotonic() + seconds
    try:
        for mistake, says, wrong in planted(test.wide, deadline):
            note(mistake, wrong, _with_incoming(says, test.layer.outputs))
    except ValueError as error:
        remarks.append(f"not all mistakes could be planted: {first_line_of(error)}")
    if not test.passes(test.exact):  # it only rounds
        remarks.append(
            "the rule rejects gradients that are wrong by nothing but rounding in "
            f"{test.precision}: a right kernel would not pass it"
        )
    best = int(np.argmin(passed))
    tried = {name for name, it in found.items() if it.tried}
    ordered = {name: found[name] for name in (*_PLAIN, *sorted(tried - {*_PLAIN}))}
    return AuditResult(
        [name for name, it in ordered.items() if it.passed],
        smallest,
        tolerances[best],
        passed[best],
        ordered,
        test.precision,
        seed,
        digest(given(draws[0])),
        remarks,
    )


def _drawn(inputs: Any, seed: int) -> dict[str, Any]:
    """The inputs of a test, of a seed if they are a function."""
    try:
        drawn = inputs(seed) if callable(inputs) else inputs
    except Exception as error:
        raise blamed("inputs, called with a seed,", error) from error
    if not isinstance(drawn, dict):
        kind = type(drawn).__name__
        raise TypeError(f"inputs is {kind}; expected a dict, or a function of a seed")
    return drawn


def _test(reference: Code, drawn: dict[str, Any], rule: Rule, seed: int) -> _Test:
    layer = as_scalar(reference, drawn, Options(seed=seed), None)
    for name in layer.outputs:  # a loss is differentiated by itself, as by backward()
        if not layer.known.arrays[name].ndim:
            layer.known.arrays[name] = np.ones_like(layer.known.arrays[name])
    plain = given(drawn)
    names = floating(plain.arrays)
    found = gradients(layer.scalar, layer.known.arrays, names)
    right = {name: widened(found[name]) for name in names if name in found}
    if not right:
        raise ValueError("reference does not depend on the inputs; expected one built from them")
    for name, it in right.items():
        if not np.isfinite(it).all() or not it.any():
            raise ValueError(
                f"the gradient of {name} is zero, empty or not finite; expected numbers that a "
                "rule can judge"
            )
    kinds = {
        name: plain.kinds.get(name) or torch.from_numpy(plain.arrays[name]).dtype for name in right
    }
    for name, kind in kinds.items():
        if kind.is_complex:
            raise ValueError(f"{name} is complex; expected real numbers")
    return _Test(layer, right, kinds, rule)


def _note(it: Planted, test: _Test, wrong: Quantities, says: str) -> bool:
    """Count a wrong gradient, if more than rounding; the largest error that passes is shown.

    Returns:
        Whether it is more.
    """
    error = max(_relative(own, test.right[name]) for name, own in wrong.items())
    if error <= _ROUNDINGS * unit(test.precision):
        return False
    it.tried += 1
    if test.passes(wrong):
        it.passed += 1
        if error >= it.error:
            it.error, it.example = error, says or ", ".join(wrong)
    return True


def _relative(own: Array, right: Array) -> float:
    return float(np.linalg.norm(own - right) / (np.linalg.norm(right) or 1.0))


def _plain(test: _Test, stale: Quantities) -> Iterator[tuple[str, Quantities]]:
    """Each tensor in turn as zeros, as its mean, and as it was for other inputs."""
    for name, right in test.right.items():
        yield "zeros", {name: np.zeros_like(right)}
        yield "constant", {name: np.full_like(right, right.mean())}
        if name in stale and stale[name].shape == right.shape:
            yield "stale", {name: stale[name]}


def _redrawn(drawn: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same numbers in other places: they stay where the reference can take them."""
    random = np.random.default_rng([seed, _SEED])

    def again(it: Any) -> Any:
        if isinstance(it, dict):
            return {name: again(part) for name, part in it.items()}
        if isinstance(it, list | tuple) and not hasattr(it, "_fields"):
            return type(it)(again(part) for part in it)
        if not isinstance(it, Tensor | np.ndarray):
            return it
        tensor = torch.as_tensor(it)
        if not tensor.is_floating_point():
            return it
        order = torch.from_numpy(random.permutation(tensor.numel()))
        return tensor.detach().flatten()[order].reshape(tensor.shape)

    return {name: again(it) for name, it in drawn.items()}


def _smallest(test: _Test, name: str) -> float:
    """The smallest c for which 1 ± c times the right gradient is seen, to a third of itself."""
    right = test.right[name]
    for c in _SIZES:
        if not any(test.agrees(name, right * (1 + sign * c)) for sign in (1, -1)):
            return float(c)
    return math.inf


def _one_sided(test: _Test, smallest: Mapping[str, float]) -> Iterator[str]:
    """Remarks where the rule sees errors of one sign alone, or the right gradient as wrong."""
    for name, right in test.right.items():
        if not test.agrees(name, right):
            yield f"the rule rejects {name} as it is, with no error at all"
        elif math.isinf(smallest[name]):
            for sign, words in ((1, "too large"), (-1, "too small")):
                if not all(test.agrees(name, right * (1 + sign * c)) for c in _SIZES):
                    yield f"the rule sees that {name} is {words}, and not the reverse"


def _tolerances(tests: list[_Test]) -> Iterator[dict[str, float]]:
    """Tolerances by what rounding does in the precision of the inputs: more relative, or less."""
    precision = tests[0].precision
    off = list[tuple[Array, Array]]()  # errors of a right kernel, and the right numbers
    for test in tests:
        seen = [gradients(test.layer.scalar, test.layer.known.arrays, test.right)]
        for draw in range(1, _NOISES + 1):
            seen.append(test.wide.torch(mode=Noise(draw, 2 * unit(precision))))
        off += [
            (np.abs(widened(found[name]) - test.exact[name]), np.abs(test.exact[name]))
            for found in seen
            for name in test.right
        ]
    for roundings in (_ROUNDINGS, 4 * _ROUNDINGS, 16 * _ROUNDINGS):
        rtol = roundings * unit(precision)
        atol = max(float(np.max(error - rtol * right, initial=0.0)) for error, right in off)
        yield {"rtol": rtol, "atol": _ROOM * atol}
