"""The examples in docstrings come out as they stand there."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import lockstep
import manual_backprop
import torch_reference

MODULES = [
    module.name
    for package in (lockstep, manual_backprop, torch_reference)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
]


def failures(it, **settings):
    """How many examples of an object fail, and how many there are."""
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(it, **settings):
        runner.run(test)
    return runner.summarize(verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_come_out(name):
    assert failures(import_module(name)).failed == 0


@pytest.mark.parametrize("name", lockstep.__all__)
def test_a_public_name_has_an_example_that_comes_out(name):
    it = getattr(lockstep, name)
    result = failures(it, name=name, globs={name: it})
    assert result.failed == 0
    assert result.attempted >= 2


def test_an_example_that_does_not_come_out_fails(capsys):
    def wrong():
        """
        >>> 1 + 1
        3
        """

    assert failures(wrong, name="wrong", globs={}).failed == 1
