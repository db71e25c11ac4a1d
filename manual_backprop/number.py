"""What the formulas run on: any kind of number that can be added and multiplied, or arrays of it.

Floats, `fractions.Fraction` (exactly), sympy's symbols (a proof), numbers that carry their rounding
errors: the formulas are the same lines for all of them.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

Number: TypeAlias = Any
Function: TypeAlias = Callable[..., Number]
Pair: TypeAlias = tuple[Function, Function]  # a function and its derivative, side by side
