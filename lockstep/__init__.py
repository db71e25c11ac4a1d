"""The referee: runs back-propagation by hand and by PyTorch in lock-step, compares every number, explains."""

__all__ = ["compare"]


def __getattr__(name):
    if name in __all__:  # PyTorch is imported when something is first compared
        from lockstep import run

        return getattr(run, name)
    raise AttributeError(f"module 'lockstep' has no attribute {name!r}")
