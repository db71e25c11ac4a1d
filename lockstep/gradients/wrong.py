"""A gradient that is wrong, how many times the right one it is, and what usually makes it so."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lockstep.explain.facts import agree, factor, usual
from lockstep.gradients.measured import Check
from lockstep.gradients.result import labelled
from lockstep.network.names import Array, Index, Quantities

FACTORS = (
    "look for a factor that is missing, or there twice: of a mean against a sum, ½, √d, 1/(1 − p)"
)
# the operations of a reference that make some factors likely
_DRAWS = {"bernoulli", "native_dropout", "bernoulli_"}
_ROOTS = {
    *("sqrt", "rsqrt", "pow", "linalg_vector_norm"),
    *("_scaled_dot_product_flash_attention_for_cpu", "scaled_dot_product_attention"),
}
_SPREADS = {"var", "std", "var_mean", "std_mean", "mean"}
_SHARES = ("p", "rate", "dropout", "drop", "keep")  # names of a share that is dropped
_TWOS = {
    "what a 2 too many makes, as of a square halved": 2.0,
    "what a missing 2 makes, as of a square": 0.5,
}


@dataclass
class Wrong:
    """A gradient that is wrong.

    own, value: by hand and by PyTorch; bound: how far two right ones may be apart; complex: whether
    the last axis holds real and imaginary parts.
    """

    name: str
    own: Array
    value: Array
    bound: Array
    complex: bool = False

    @cached_property
    def off(self) -> Array:
        """Where it is not the right one, to rounding."""
        return ~agree(self.own, self.value, self.bound)

    @property
    def error(self) -> Array:
        """Yours less the right one."""
        return self.own - self.value

    @property
    def wrong(self) -> Array:
        """Where it is not, and there is a right one."""
        return self.off & np.isfinite(self.value)

    @property
    def is_finite(self) -> bool:
        """Whether every number of yours is finite."""
        return bool(np.isfinite(self.own).all())

    def label(self, at: Index) -> str:
        """An element as a reader writes it."""
        return labelled(self.name, at, self.complex)

    def judge(self, bound: Array) -> None:
        """Judge it by another bound."""
        self.bound = bound
        self.__dict__.pop("off", None)


def times(
    own: Array, part: Array, bound: Array, it: Check, several: bool
) -> tuple[float | None, str]:
    """How many times a part counts in a gradient, and the usual cause of that in words.

    Returns 0, −1 or a factor other than 1, which has a usual cause if it is not seen in several
    elements; None where own is no multiple of the part.
    """
    c = factor(own, part, bound)
    if c is None or c in (0, -1):
        return c, ""
    if abs(c) <= 1e-3 or abs(c - 1) <= 1e-5:
        return None, ""
    words = next(iter(usual(c, _causes(it.inputs, it.used), 1e-9)), "")
    if words:
        return c, f", which is {words}"
    return (c if several else None), ""


def _causes(inputs: Quantities, used: set[str]) -> dict[str, float]:
    """The factors with a usual cause, by words for them, likelier ones first.

    used: The names of the reference's operations, which say what causes there may be.
    """
    draws, roots, spread = (not names.isdisjoint(used) for names in (_DRAWS, _ROOTS, _SPREADS))
    masks = draws or any("mask" in name for name in inputs)
    factors: dict[str, float] = {}
    for name, array in inputs.items():
        if array.size == 1 and array.dtype.kind == "f" and (p := array.item()):
            factors |= _of_a_number(name, p, masks or name in _SHARES)
    factors |= _TWOS
    for name, array in inputs.items():
        counts = {f"the length of axis {axis} of {name}": n for axis, n in enumerate(array.shape)}
        if array.ndim > 1:
            counts[f"the size of {name}"] = array.size
        for words, n in counts.items():
            factors |= _of_a_count(words, n, roots, spread) if n > 1 else {}
    for p in (0.1, 0.2, 0.25, 0.3, 0.4, 0.5) if draws else ():
        factors |= {f"1/(1 − {p}) (as in dropout)": 1 / (1 - p), f"1 − {p} (as in dropout)": 1 - p}
    return factors | {"√2": 2**0.5, "1/√2": 0.5**0.5} if roots else factors


def _of_a_number(name: str, p: float, drops: bool) -> dict[str, float]:
    """The factors that an input makes. drops: whether it may be a share that dropout drops."""
    factors = {name: p, f"1/{name}": 1 / p}
    if drops and 0 < p < 1:
        factors |= {
            f"1 − {name}": 1 - p,
            f"1/(1 − {name})": 1 / (1 - p),
            f"{name} · (1 − {name}), so {name} stands for 1/(1 − {name})": p * (1 - p),
        }
    return factors


def _of_a_count(words: str, n: int, roots: bool, spread: bool) -> dict[str, float]:
    """The factors that a sum over n makes. roots, spread: whether roots and variances are taken."""
    factors = {f"1 over {words}": 1 / n, words: float(n)}
    if roots:
        factors |= {f"the root of {words}": n**0.5, f"1 over the root of {words}": n**-0.5}
    if spread:
        factors |= {f"n/(n − 1) for {words}": n / (n - 1), f"(n − 1)/n for {words}": (n - 1) / n}
    return factors
