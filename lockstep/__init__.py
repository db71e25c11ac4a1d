"""The referee: runs back-propagation by hand and by PyTorch in lock-step, compares every number, explains."""

from importlib import import_module

_HOMES = {
    "compare": "api",
    "check_gradients": "gradients.check",
    "check_function": "gradients.check",
    "GradientMismatch": "gradients.result",
    "watch": "gradients.measured",
}

__all__ = ["GradientMismatch", "check_function", "check_gradients", "compare", "watch"]


def __getattr__(name):
    if name in _HOMES:  # PyTorch is imported when something is first compared
        return getattr(import_module(f"lockstep.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lockstep' has no attribute {name!r}")
