"""The catalogue of mistakes: each is an edit of a right formula, with what to say about it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias

from lockstep.explain.formulas import inputs_of, replaced, source_of, split, tidy
from lockstep.network.names import BACKWARD, COMPUTED, UPDATE

GRADIENTS = tuple(name for name in BACKWARD if name.startswith("grad_"))
Right: TypeAlias = dict[str, str]  # the text of the right formulas by name


@dataclass(frozen=True)
class Mistake:
    """One way to get a quantity wrong.

    A formula is in the names of `two_layer.py`; N, `ones` (in the shape of W_o) and `positive`
    (1 for a positive number, else 0); and those that the fields below bring in.

    Attributes:
        name: one of the names of mistakes.
        quantity: the quantity that comes out wrong.
        says: a sentence for the user; {q} stands for the quantity, {c} for the fitted constant.
        remedy: what to do.
        formulas: the quantity's formula with the mistake, in each way in which it can be made.
        fitted: the formulas have a constant `c`, to be fitted.
        each: the formulas are for one sample or output, `[sample]`, or for all others,
            `[but_sample]`; each is to be tried in turn.
        history: the formulas have gradients of earlier steps by parameter: `accumulated`, their
            sum, or `previous`, the last ones.
    """

    name: str
    quantity: str
    says: str
    remedy: str
    formulas: tuple[str, ...]
    fitted: bool = False
    each: Literal["sample", "output"] | None = None
    history: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether its formulas can be evaluated as they stand."""
        return not (self.fitted or self.each or self.history)


@lru_cache
def catalogue(loss: str) -> tuple[Mistake, ...]:
    """Every mistake with a loss, likelier ones first; in the update of a frozen parameter too."""
    right = {name: source_of(name, loss) for name in COMPUTED}
    parts = (_slopes, _delta_h, _gradients, _updates, _pre_activations, _anywhere)
    rows = (row for part in parts for row in part(right))
    return tuple(replace(row, formulas=tuple(map(tidy, row.formulas))) for row in rows)


def _slopes(right: Right) -> Iterator[Mistake]:
    """Mistakes in the last factor of an error term, σ'."""
    for s in "oh":
        name, z, prime = f"delta_{s}", f"z_{s}", f"sigma_{s}_prime"
        error, _ = split(right[name])
        yield Mistake(
            "missing-activation-derivative",
            name,
            "the derivative of the activation function is left out of {q}",
            f"multiply by σ'({z})",
            (error,),
        )
        yield Mistake(
            "derivative-at-wrong-point",
            name,
            f"σ' in {{q}} is not taken at the pre-activation {z}",
            f"take σ' at {z}; a formula in terms of σ(z), such as s·(1 − s), takes {s}",
            (f"({error}) * {prime}({s}, sigma_{s}({s}))", f"({error}) * {prime}({z}, {z})"),
        )
        others = ("1 - s", "s * (1 - s)", "1 - s * s", "s", "s * (1 + s)", "(1 - s) * (1 - s)")
        slopes = (*(replaced(other, {"s": s}) for other in others), f"positive({z})")
        yield Mistake(
            "wrong-activation-derivative",
            name,
            "another function stands in {q} "
            "where the derivative of the activation function belongs",
            "sigmoid' is s·(1 − s), tanh' is 1 − s², relu' is 1 where z > 0",
            tuple(f"({error}) * ({slope})" for slope in slopes),
        )


def _delta_h(right: Right) -> Iterator[Mistake]:
    """Mistakes on the way back from delta_o to delta_h."""

    def back(weights: str = "W_o", sent: str = "delta_o") -> str:
        return replaced(right["delta_h"], {"delta_o": sent, "W_o": weights})

    error, _ = split(right["delta_o"])
    _, slope = split(right["delta_h"])
    yield Mistake(
        "updated-weights-used",
        "delta_h",
        "the hidden error was computed with the output weights that this step had already changed",
        "compute delta_h before you assign the new output weights",
        (back(right["new_W_o"]),),
    )
    yield Mistake(
        "transposed-weights",
        "delta_h",
        "W_o is used the wrong way round on the way back",
        "delta_h[i, j] sums delta_o[i, k]·W_o[k, j] over the outputs k",
        (back("W_o.T"),),
    )
    yield Mistake(
        "output-derivative-dropped",
        "delta_h",
        "the error o − y is sent back instead of delta_o",
        "send delta_o back, which contains the output's σ'",
        (back(sent=error), back(sent="o - y")),
    )
    yield Mistake(
        "wrong-weights",
        "delta_h",
        "something else stands in place of W_o on the way back",
        "send delta_o back through W_o",
        (*map(back, ("W_h", "W_h.T", "grad_W_o", "ones")), f"delta_o * {slope}"),
    )
    yield Mistake(
        "term-missing",
        "delta_h",
        "only some of the outputs' terms are in the sum of {q}",
        "every output that h feeds into sends its error back",
        tuple(back(f"W_o[{some}]", f"delta_o[:, {some}]") for some in ("output", "but_output")),
        each="output",
    )


def _gradients(right: Right) -> Iterator[Mistake]:
    """Mistakes in a layer's gradients."""
    updated = replaced(right["delta_h"], {"W_o": right["new_W_o"]})
    for layer, given in (("o", "h"), ("h", "x")):
        delta, weight, bias = f"delta_{layer}", f"grad_W_{layer}", f"grad_b_{layer}"
        others = [other for other in ("x", "z_h", "h", "z_o", "o", "y") if other != given]
        yield Mistake(
            "wrong-layer-input",
            weight,
            f"{{q}} is computed from another array than {given}",
            f"the input of these weights is {given}",
            tuple(replaced(right[weight], {given: other}) for other in others),
        )
        yield Mistake(
            "transposed-gradient",
            weight,
            "the outer product in {q} is the wrong way round",
            f"row j belongs to {delta}[:, j]: {right[weight]}",
            (replaced(right[weight], {delta: given, given: delta}),),
        )
        for name in (weight, bias):
            yield Mistake(
                "one-sample-only",
                name,
                "only one sample of the batch counts in {q}",
                "sum over all samples",
                (_of_samples(right[name], ":1"), _of_samples(right[name], "-1:")),
            )
            yield Mistake(
                "term-missing",
                name,
                "only some of the samples' terms are in the sum of {q}",
                "sum over all samples",
                (_of_samples(right[name], "sample"), _of_samples(right[name], "but_sample")),
                each="sample",
            )
        yield Mistake(
            "bias-gradient-averaged",
            bias,
            "{q} is the mean over the batch",
            "sum over the samples; the loss's factor is in delta already",
            (f"({right[bias]}) / N",),
        )
        yield Mistake(
            "bias-gradient-missing",
            bias,
            "{q} is zero",
            f"the gradient of a bias is {delta}, summed over the samples",
            (f"0 * ({right[bias]})",),
        )
    for name in ("grad_W_h", "grad_b_h"):
        yield Mistake(
            "updated-weights-used",
            name,
            "{q} was computed with the output weights that this step had already changed",
            "compute every gradient before you assign new weights",
            (replaced(right[name], {"delta_h": updated}),),
        )
    for name in GRADIENTS:
        parameter = name.removeprefix("grad_")
        yield Mistake(
            "gradients-accumulated",
            name,
            "the earlier steps' gradients are still inside {q}",
            "start every step from zero gradients",
            (f"{right[name]} + accumulated['{parameter}']",),
            history=True,
        )
        yield Mistake(
            "weight-decay",
            name,
            "{q} has an extra term, {c} times the parameter",
            "leave the term out, or put it into the loss on both sides",
            (f"{right[name]} + c * {parameter}",),
            fitted=True,
        )


def _of_samples(formula: str, rows: str) -> str:
    """The formula on some of the samples."""
    return replaced(formula, {name: f"{name}[{rows}]" for name in inputs_of(formula)})


def _updates(right: Right) -> Iterator[Mistake]:
    for name in UPDATE:
        update, parameter = right[name], name.removeprefix("new_")
        gradient, (_, step) = f"grad_{parameter}", split(update)
        if parameter in ("b_h", "b_o"):
            yield Mistake(
                "bias-gradient-missing",
                name,
                f"the bias {parameter} is never updated",
                f"subtract lr·{gradient}",
                (parameter,),
            )
        yield Mistake(
            "not-updated",
            name,
            f"{parameter} is left as it was",
            f"subtract lr·{gradient}",
            (parameter,),
        )
        yield Mistake(
            "update-sign",
            name,
            f"lr·{gradient} is added",
            "subtract it: the step goes down the gradient",
            (f"{parameter} + {step}",),
        )
        rates = (gradient, f"lr * lr * {gradient}", f"lr / N * {gradient}", f"lr * N * {gradient}")
        yield Mistake(
            "learning-rate",
            name,
            "the learning rate is missing in {q}, in it twice, or divided by the batch size",
            f"{name} is {update.replace(' * ', '·')}",
            tuple(replaced(update, {step: wrong}) for wrong in rates),
        )
        yield Mistake(
            "gradients-accumulated",
            name,
            "the earlier steps' gradients are still inside {q}",
            "start every step from zero gradients",
            (replaced(update, {gradient: f"{gradient} + accumulated['{parameter}']"}),),
            history=True,
        )
        yield Mistake(
            "momentum",
            name,
            "{q} also has the last step's gradient, {c} times: momentum",
            "plain gradient descent has no memory",
            (f"{update} - c * (lr * previous['{parameter}'])",),
            fitted=True,
            history=True,
        )
        yield Mistake(
            "weight-decay",
            name,
            "{q} has an extra term, {c} times the parameter: weight decay",
            "leave the term out, or set it on both sides",
            (f"{update} - c * (lr * {parameter})",),
            fitted=True,
        )


def _pre_activations(right: Right) -> Iterator[Mistake]:
    for layer in "ho":
        name, weights = f"z_{layer}", f"W_{layer}"
        weighted, bias = split(right[name])
        yield Mistake(
            "transposed-weights",
            name,
            f"{weights} is used the wrong way round in {{q}}",
            f"row j of {weights} holds the weights into neuron j",
            (replaced(right[name], {f"{weights}.T": weights}),),
        )
        yield Mistake(
            "bias-forgotten", name, "the bias is missing in {q}", f"add {bias}", (weighted,)
        )


def _anywhere(right: Right) -> Iterator[Mistake]:
    """A batch that is broadcast, a sign, a factor."""
    averaged, summed = "o - y.sum(axis=0) / N", "N * o - y.sum(axis=0)"
    squares = replaced(right["loss"], {"y - o": "y.T - o"})
    for name, formulas in (
        (
            "delta_o",
            tuple(replaced(right["delta_o"], {"o - y": e}) for e in (averaged, summed, "o - y.T")),
        ),
        ("loss", (f"{squares} / N", squares)),
    ):
        yield Mistake(
            "broadcast",
            name,
            "every output meets every target in {q}: a (N,) target against (N, 1) outputs",
            "give the targets the shape (N, 1): y.reshape(-1, 1)",
            formulas,
        )
    for name in (*BACKWARD, "loss"):
        yield Mistake(
            "sign-flipped",
            name,
            "{q} is minus the right one",
            "the derivative of ½ (y − o)² by o is o − y",
            (f"-1 * ({right[name]})",),
        )
        yield Mistake(
            "scaled-by-constant",
            name,
            "{q} is {c} times the right one{cause}",
            "check the factor in front of the loss, and where the batch is averaged",
            (f"c * ({right[name]})",),
            fitted=True,
        )
