"""The referee: runs back-propagation by hand and by PyTorch in lock-step, compares, explains."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockstep.api import compare
    from lockstep.errors import Mismatch
    from lockstep.gradients.audit import audit
    from lockstep.gradients.check import check_gradients
    from lockstep.gradients.close import assert_gradients_close
    from lockstep.gradients.functions import check_function
    from lockstep.gradients.layers import check_layer
    from lockstep.gradients.reference import watch
    from lockstep.gradients.result import GradientMismatch
    from lockstep.loop.follow import follow

    __version__: str

__all__ = [
    "GradientMismatch",
    "Mismatch",
    "assert_gradients_close",
    "audit",
    "check_function",
    "check_gradients",
    "check_layer",
    "compare",
    "follow",
    "watch",
]
_HOMES = {
    "compare": "api",
    "assert_gradients_close": "gradients.close",
    "audit": "gradients.audit",
    "check_gradients": "gradients.check",
    "check_function": "gradients.functions",
    "check_layer": "gradients.layers",
    "follow": "loop.follow",
    "Mismatch": "errors",
    "GradientMismatch": "gradients.result",
    "watch": "gradients.reference",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:  # PyTorch is imported when something is first compared
        return getattr(import_module(f"lockstep.{_HOMES[name]}"), name)
    if name == "__version__":
        return import_module("lockstep.version").version()
    raise AttributeError(f"module 'lockstep' has no attribute {name!r}")
