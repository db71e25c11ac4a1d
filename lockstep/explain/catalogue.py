"""The catalogue of mistakes: each is an edit of a right formula, with what to say about it."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import NamedTuple, TypeAlias

from lockstep.explain.formulas import inputs_of, replaced, source_of, split, tidy
from lockstep.network.names import BACKWARD, COMPUTED, UPDATE

GRADIENTS = tuple(name for name in BACKWARD if name.startswith("grad_"))
Right: TypeAlias = dict[str, str]  # the text of the right formulas by name
Rows: TypeAlias = Iterator[tuple[str, ...]]  # quantity, name, says, remedy, each formula


class Mistake(NamedTuple):
    """One way to get a quantity wrong.

    A formula is in the names of `two_layer.py`; N, `ones` (in the shape of W_o) and `positive`
    (1 for a positive number, else 0); and those that the attributes below tell of.

    Attributes:
        name: one of the names of mistakes.
        quantity: the quantity that comes out wrong.
        says: a sentence for the user; {q} stands for the quantity, {c} for the fitted constant.
        remedy: what to do.
        formulas: the quantity's formula with the mistake, in each way in which it can be made.
        fitted: the formulas have a constant `c`, to be fitted.
        each: "sample" or "output": the formulas are for one of them, `[sample]`, or for all others,
            `[but_sample]`; each is to be tried in turn.
        history: the formulas have gradients of earlier steps by parameter: `accumulated`, their
            sum, or `previous`, the last ones.
    """

    name: str
    quantity: str
    says: str
    remedy: str
    formulas: tuple[str, ...]
    fitted: bool
    each: str | None
    history: bool


@lru_cache
def catalogue(loss: str) -> tuple[Mistake, ...]:
    """Every mistake with a loss, likelier ones first; in the update of a frozen parameter too."""
    right = {name: source_of(name, loss) for name in COMPUTED}
    parts = (_error_terms, _gradients, _updates, _others)
    found = []
    for quantity, name, says, remedy, *texts in chain.from_iterable(part(right) for part in parts):
        formulas = tuple(map(tidy, texts))
        needs = set[str]().union(*map(inputs_of, formulas))
        each = next(iter(needs & {"sample", "output"}), None)
        history = not needs.isdisjoint({"accumulated", "previous"})
        found.append(Mistake(name, quantity, says, remedy, formulas, "c" in needs, each, history))
    return tuple(found)


def _error_terms(right: Right) -> Rows:
    """Mistakes in the last factor of an error term, σ', and on the way back to delta_h."""
    for s in "oh":
        name, z, prime = f"delta_{s}", f"z_{s}", f"sigma_{s}_prime"
        error, _ = split(right[name])
        yield (
            name,
            "missing-activation-derivative",
            "the derivative of the activation function is left out of {q}",
            f"multiply by σ'({z})",
            error,
        )
        yield (
            name,
            "derivative-at-wrong-point",
            f"σ' in {{q}} is not taken at the pre-activation {z}",
            f"take σ' at {z}; a formula in terms of σ(z), such as s·(1 − s), takes {s}",
            f"({error}) * {prime}({s}, sigma_{s}({s}))",
            f"({error}) * {prime}({z}, {z})",
        )
        yield (
            name,
            "wrong-activation-derivative",
            "another function stands in {q} "
            "where the derivative of the activation function belongs",
            "sigmoid' is s·(1 − s), tanh' is 1 − s², relu' is 1 where z > 0",
            f"({error}) * (1 - {s})",
            f"({error}) * ({s} * (1 - {s}))",
            f"({error}) * (1 - {s} * {s})",
            f"({error}) * {s}",
            f"({error}) * ({s} * (1 + {s}))",
            f"({error}) * ((1 - {s}) * (1 - {s}))",
            f"({error}) * positive({z})",
        )

    def back(weights: str = "W_o", sent: str = "delta_o") -> str:
        return replaced(right["delta_h"], {"delta_o": sent, "W_o": weights})

    error, _ = split(right["delta_o"])
    _, slope = split(right["delta_h"])
    yield (
        "delta_h",
        "updated-weights-used",
        "the hidden error was computed with the output weights that this step had already changed",
        "compute delta_h before you assign the new output weights",
        back(right["new_W_o"]),
    )
    yield (
        "delta_h",
        "transposed-weights",
        "W_o is used the wrong way round on the way back",
        "delta_h[i, j] sums delta_o[i, k]·W_o[k, j] over the outputs k",
        back("W_o.T"),
    )
    yield (
        "delta_h",
        "output-derivative-dropped",
        "the error o − y is sent back instead of delta_o",
        "send delta_o back, which contains the output's σ'",
        back(sent=error),
        back(sent="o - y"),
    )
    yield (
        "delta_h",
        "wrong-weights",
        "something else stands in place of W_o on the way back",
        "send delta_o back through W_o",
        *map(back, ("W_h", "W_h.T", "grad_W_o", "ones")),
        f"delta_o * {slope}",
    )
    yield (
        "delta_h",
        "term-missing",
        "only some of the outputs' terms are in the sum of {q}",
        "every output that h feeds into sends its error back",
        back("W_o[output]", "delta_o[:, output]"),
        back("W_o[but_output]", "delta_o[:, but_output]"),
    )


def _gradients(right: Right) -> Rows:
    """Mistakes in a layer's gradients."""
    for layer, given in (("o", "h"), ("h", "x")):
        delta, weight, bias = f"delta_{layer}", f"grad_W_{layer}", f"grad_b_{layer}"
        others = [other for other in ("x", "z_h", "h", "z_o", "o", "y") if other != given]
        yield (
            weight,
            "wrong-layer-input",
            f"{{q}} is computed from another array than {given}",
            f"the input of these weights is {given}",
            *(replaced(right[weight], {given: other}) for other in others),
        )
        yield (
            weight,
            "transposed-gradient",
            "the outer product in {q} is the wrong way round",
            f"row j belongs to {delta}[:, j]: {right[weight]}",
            replaced(right[weight], {delta: given, given: delta}),
        )
        for name in (weight, bias):
            of = right[name]
            first, last, sample, but_sample = (
                replaced(of, {array: f"{array}[{rows}]" for array in inputs_of(of)})
                for rows in (":1", "-1:", "sample", "but_sample")
            )
            remedy = "sum over all samples"
            says = "only one sample of the batch counts in {q}"
            yield name, "one-sample-only", says, remedy, first, last
            says = "only some of the samples' terms are in the sum of {q}"
            yield name, "term-missing", says, remedy, sample, but_sample
        yield (
            bias,
            "bias-gradient-averaged",
            "{q} is the mean over the batch",
            "sum over the samples; the loss's factor is in delta already",
            f"({right[bias]}) / N",
        )
        yield (
            bias,
            "bias-gradient-missing",
            "{q} is zero",
            f"the gradient of a bias is {delta}, summed over the samples",
            f"0 * ({right[bias]})",
        )
    updated = replaced(right["delta_h"], {"W_o": right["new_W_o"]})
    for name in ("grad_W_h", "grad_b_h"):
        yield (
            name,
            "updated-weights-used",
            "{q} was computed with the output weights that this step had already changed",
            "compute every gradient before you assign new weights",
            replaced(right[name], {"delta_h": updated}),
        )
    for name in GRADIENTS:
        parameter = name.removeprefix("grad_")
        yield (
            name,
            "gradients-accumulated",
            "the earlier steps' gradients are still inside {q}",
            "start every step from zero gradients",
            f"{right[name]} + accumulated['{parameter}']",
        )
        yield (
            name,
            "weight-decay",
            "{q} has an extra term, {c} times the parameter",
            "leave the term out, or put it into the loss on both sides",
            f"{right[name]} + c * {parameter}",
        )


def _updates(right: Right) -> Rows:
    for name in UPDATE:
        update, parameter = right[name], name.removeprefix("new_")
        gradient, (_, step) = f"grad_{parameter}", split(update)
        subtract = f"subtract lr·{gradient}"
        if parameter in ("b_h", "b_o"):
            says = f"the bias {parameter} is never updated"
            yield name, "bias-gradient-missing", says, subtract, parameter
        yield name, "not-updated", f"{parameter} is left as it was", subtract, parameter
        yield (
            name,
            "update-sign",
            f"lr·{gradient} is added",
            "subtract it: the step goes down the gradient",
            f"{parameter} + {step}",
        )
        yield (
            name,
            "learning-rate",
            "the learning rate is missing in {q}, in it twice, or divided by the batch size",
            f"{name} is {update.replace(' * ', '·')}",
            f"{parameter} - {gradient}",
            f"{parameter} - lr * lr * {gradient}",
            f"{parameter} - lr / N * {gradient}",
            f"{parameter} - lr * N * {gradient}",
        )
        yield (
            name,
            "gradients-accumulated",
            "the earlier steps' gradients are still inside {q}",
            "start every step from zero gradients",
            replaced(update, {gradient: f"{gradient} + accumulated['{parameter}']"}),
        )
        yield (
            name,
            "momentum",
            "{q} also has the last step's gradient, {c} times: momentum",
            "plain gradient descent has no memory",
            f"{update} - c * (lr * previous['{parameter}'])",
        )
        yield (
            name,
            "weight-decay",
            "{q} has an extra term, {c} times the parameter: weight decay",
            "leave the term out, or set it on both sides",
            f"{update} - c * (lr * {parameter})",
        )


def _others(right: Right) -> Rows:
    """A pre-activation, a batch that is broadcast, a sign, a factor."""
    for layer in "ho":
        name, weights = f"z_{layer}", f"W_{layer}"
        weighted, bias = split(right[name])
        yield (
            name,
            "transposed-weights",
            f"{weights} is used the wrong way round in {{q}}",
            f"row j of {weights} holds the weights into neuron j",
            replaced(right[name], {f"{weights}.T": weights}),
        )
        yield name, "bias-forgotten", "the bias is missing in {q}", f"add {bias}", weighted
    errors = ("o - y.sum(axis=0) / N", "N * o - y.sum(axis=0)", "o - y.T")
    squares = replaced(right["loss"], {"y - o": "y.T - o"})
    for name, *formulas in (
        ("delta_o", *(replaced(right["delta_o"], {"o - y": error}) for error in errors)),
        ("loss", f"{squares} / N", squares),
    ):
        yield (
            name,
            "broadcast",
            "every output meets every target in {q}: a (N,) target against (N, 1) outputs",
            "give the targets the shape (N, 1): y.reshape(-1, 1)",
            *formulas,
        )
    for name in (*BACKWARD, "loss"):
        yield (
            name,
            "sign-flipped",
            "{q} is minus the right one",
            "the derivative of ½ (y − o)² by o is o − y",
            f"-1 * ({right[name]})",
        )
        yield (
            name,
            "scaled-by-constant",
            "{q} is {c} times the right one{cause}",
            "check the factor in front of the loss, and where the batch is averaged",
            f"c * ({right[name]})",
        )
