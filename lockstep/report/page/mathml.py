"""The formulas as mathematics that browsers draw themselves (MathML)."""

import ast
from functools import lru_cache

from markupsafe import Markup, escape

from lockstep.explain.formulas import formulas
from lockstep.report.formulas import ATOM, JUXTAPOSED, PRODUCT, SUM, Notation

_LETTERS = {"delta": "δ", "lr": "α", "loss": "L"}


@lru_cache(maxsize=512)
def formula(name: str, scalars: bool, loss: str) -> Markup:
    """name = formula, as MathML; a name that stands in it is marked with data-q.

    Args:
        name: Of a scalar of the 2-2-2 network or of a matrix.
        scalars: Which of the two.
        loss: A name of `LOSSES`.
    """
    tree = formulas(loss, scalars)[name]
    return Markup(f"<math>{named(name)}<mo>=</mo>{MathML().written(tree)}</math>")


def symbol(name: str) -> Markup:
    """A name alone, as MathML."""
    return Markup(f"<math>{named(name)}</math>")


def named(name: str) -> str:
    """A name as its symbol, marked with data-q.

    delta_h1 is δ with h1 below; grad_w11 is ∂L/∂w11; new_w11 is w11 with new above; W_h[0, 1] has
    its index after it.
    """
    return f'<mrow data-q="{escape(name)}">{_symbol(name)}</mrow>'


def _symbol(name: str) -> str:
    if name.startswith("grad_"):
        inside = _symbol(name.removeprefix("grad_"))
        return f"<mfrac><mrow><mi>∂</mi><mi>L</mi></mrow><mrow><mi>∂</mi>{inside}</mrow></mfrac>"
    base, bracket, index = name.removeprefix("new_").partition("[")
    letter, _, below = base.partition("_")
    if not below:
        letter = base.rstrip("0123456789")
        below = base.removeprefix(letter)
    letter = f"<mi>{_LETTERS.get(letter, letter)}</mi>"
    place = f"<mtext>{bracket}{index}</mtext>" if index else ""
    if name.startswith("new_"):
        return f"<msubsup>{letter}<mi>{below}</mi><mi>new</mi></msubsup>{place}"
    return (f"<msub>{letter}<mi>{below}</mi></msub>" if below else letter) + place


class MathML(Notation):
    """A formula in MathML."""

    operators = {
        ast.Add: ("{}<mo>+</mo>{}", SUM, SUM, SUM),
        ast.Sub: ("{}<mo>−</mo>{}", SUM, SUM, JUXTAPOSED),
        ast.MatMult: ("{}<mo>\N{INVISIBLE TIMES}</mo>{}", PRODUCT, PRODUCT, PRODUCT),
        ast.Mult: ("{}<mo>·</mo>{}", PRODUCT, PRODUCT, PRODUCT),
        ast.Div: ("<mfrac><mrow>{}</mrow><mrow>{}</mrow></mfrac>", ATOM, SUM, SUM),
    }
    constant = "<mn>{}</mn>"
    brackets = "<mrow><mo>(</mo>{}<mo>)</mo></mrow>"
    transposed = "<msup>{}<mi>T</mi></msup>"
    squared = "<msup>{}<mn>2</mn></msup>"
    total = "<mo>Σ</mo>{}"
    over_samples = "<munder><mo>Σ</mo><mi>samples</mi></munder>{}"
    elements = "<mi>N</mi><mo>·</mo><msub><mi>n</mi><mi>out</mi></msub>"
    sigma_prime = "<msup><mi>σ</mi><mo>′</mo></msup><mo>(</mo>{}<mo>)</mo>"

    def name(self, name: str) -> str:
        return named(name)

    def sigma(self, function: str) -> str:
        return "<mi>σ</mi><mo>(</mo>{}<mo>)</mo>"
