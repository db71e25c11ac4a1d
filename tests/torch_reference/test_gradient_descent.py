"""The curve by PyTorch: autograd's derivative is the polynomial's."""

import pytest

from torch_reference import gradient_descent


@pytest.mark.parametrize("x", [-1.0, 0.0, 0.5, 8 / 3, 4.0])
def test_the_derivative_is_the_polynomials(x):
    assert gradient_descent.derivative(x) == pytest.approx(3 * x**2 - 8 * x, abs=1e-14)
