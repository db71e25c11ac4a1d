"""The catalogue of mistakes: what each one is called, what it does to a formula, and what to say about it."""

from dataclasses import dataclass

from lockstep.network.names import BACKWARD, UPDATE

_ERROR = "2 * (o - y) / m"
_BACK = "delta_o @ W_o"
_PRIME_O = " * sigma_o_prime(z_o, o)"
_LAYERS = {"delta_o": (_ERROR, "o"), "delta_h": (f"({_BACK})", "h")}
GRADIENTS = tuple(name for name in BACKWARD if name.startswith("grad_"))


@dataclass(frozen=True)
class Mistake:
    """One way to get a quantity wrong.

    formulas: how the quantity then comes out, in the names of `two_layer.py`; besides these there are `c`, a constant
    that is fitted, N, `accumulated` and `previous` (the earlier steps' gradients of the parameter, summed and last),
    `ones` and `one`, a sample or output that is tried in turn.
    says: a sentence for the user, of the quantity {q}. remedy: what to do.
    """

    name: str
    quantity: str
    formulas: tuple[str, ...]
    says: str
    remedy: str


def catalogue(right):
    """Every mistake, likelier ones first. right: the text of the right formulas by name."""
    return (
        tuple(_deltas())
        + tuple(_gradients(right))
        + tuple(_updates(right))
        + tuple(_anywhere(right))
    )


def _deltas():
    for name, (error, s) in _LAYERS.items():
        prime = f"sigma_{s}_prime"
        z = f"z_{s}"
        yield Mistake(
            "missing-activation-derivative",
            name,
            (error,),
            "the derivative of the activation function is left out of {q}",
            f"multiply by σ'({z})",
        )
        yield Mistake(
            "derivative-at-wrong-point",
            name,
            (f"{error} * {prime}({s}, sigma_{s}({s}))", f"{error} * {prime}({z}, {z})"),
            f"σ' in {{q}} is not taken at the pre-activation {z}",
            f"take σ' at {z}; a formula in terms of σ(z), such as s·(1 − s), is fed with {s}",
        )
        yield Mistake(
            "wrong-activation-derivative",
            name,
            tuple(
                f"{error} * ({factor})"
                for factor in (
                    f"1 - {s}",
                    f"{s} * (1 - {s})",
                    f"1 - {s} * {s}",
                    s,
                    f"{s} * (1 + {s})",
                    f"(1 - {s}) * (1 - {s})",
                    f"positive({z})",
                )
            ),
            "another function stands in {q} where the derivative of the activation function belongs",
            "sigmoid' is s·(1 − s), tanh' is 1 − s², relu' is 1 where z > 0",
        )
    prime = " * sigma_h_prime(z_h, h)"
    yield Mistake(
        "updated-weights-used",
        "delta_h",
        (f"(delta_o @ (W_o - lr * grad_W_o)){prime}",),
        "the hidden error was computed with the output weights that this step had already changed",
        "compute delta_h before you assign the new output weights",
    )
    yield Mistake(
        "transposed-weights",
        "delta_h",
        (f"(delta_o @ W_o.T){prime}",),
        "W_o is used untransposed on the way back",
        "delta_h[i, j] sums delta_o[i, k]·W_o[k, j] over the outputs k",
    )
    yield Mistake(
        "output-derivative-dropped",
        "delta_h",
        (f"({_ERROR} @ W_o){prime}", f"((o - y) @ W_o){prime}"),
        "the error o − y is sent back instead of delta_o",
        "send delta_o back, which contains the output's σ'",
    )
    yield Mistake(
        "wrong-weights",
        "delta_h",
        tuple(
            f"({back}){prime}"
            for back in (
                "delta_o @ W_h",
                "delta_o @ W_h.T",
                "delta_o @ grad_W_o",
                "delta_o @ ones",
                "delta_o",
            )
        ),
        "something else stands in place of W_o on the way back",
        "send delta_o back through W_o",
    )
    yield Mistake(
        "term-missing",
        "delta_h",
        tuple(f"(delta_o[:, {rows}] @ W_o[{rows}]){prime}" for rows in ("one", "but_one")),
        "only some of the outputs' terms are in the sum of {q}",
        "every output that h feeds into sends its error back",
    )


def _gradients(right):
    for layer, given in (("o", "h"), ("h", "x")):
        delta, weight, bias = f"delta_{layer}", f"grad_W_{layer}", f"grad_b_{layer}"
        others = [other for other in ("x", "z_h", "h", "z_o", "o", "y") if other != given]
        yield Mistake(
            "wrong-layer-input",
            weight,
            tuple(f"{delta}.T @ {other}" for other in others),
            f"{{q}} is built on another array than {given}",
            f"the input of these weights is {given}",
        )
        yield Mistake(
            "transposed-gradient",
            weight,
            (f"({given}.T @ {delta})",),
            "the outer product in {q} is the wrong way round",
            f"row j belongs to {delta}[:, j]: {right[weight]}",
        )
        for name, start, end in (
            (weight, f"{delta}[{{}}].T @ {given}[{{}}]", ""),
            (bias, f"{delta}[{{}}]", ".sum(axis=0)"),
        ):
            yield Mistake(
                "one-sample-only",
                name,
                tuple((start + end).format(rows, rows) for rows in (":1", "-1:")),
                "only one sample of the batch counts in {q}",
                "sum over all samples",
            )
            yield Mistake(
                "term-missing",
                name,
                tuple((start + end).format(rows, rows) for rows in ("sample", "but_sample")),
                "only some of the samples' terms are in the sum of {q}",
                "sum over all samples",
            )
        yield Mistake(
            "bias-gradient-averaged",
            bias,
            (f"{right[bias]} / N",),
            "{q} is the mean over the batch",
            "sum over the samples; the loss's factor is in delta already",
        )
        yield Mistake(
            "bias-gradient-missing",
            bias,
            (f"0 * ({right[bias]})",),
            "{q} is zero",
            f"the gradient of a bias is {delta}, summed over the samples",
        )
        if layer == "o":
            continue
        updated = f"delta_o @ (W_o - lr * grad_W_o) * sigma_h_prime(z_h, h)"  # noqa: F541
        for name, formula in ((weight, f"({updated}).T @ x"), (bias, f"({updated}).sum(axis=0)")):
            yield Mistake(
                "updated-weights-used",
                name,
                (formula,),
                "{q} was computed with the output weights that this step had already changed",
                "compute every gradient before you assign new weights",
            )
    for name in GRADIENTS:
        parameter = name.removeprefix("grad_")
        yield Mistake(
            "gradients-accumulated",
            name,
            (f"{right[name]} + accumulated['{parameter}']",),
            "the earlier steps' gradients are still inside {q}",
            "start every step from zero gradients",
        )
        yield Mistake(
            "weight-decay",
            name,
            (f"{right[name]} + c * {parameter}",),
            "{q} has an extra term, {c} times the parameter",
            "leave the term out, or put it into the loss on both sides",
        )


def _updates(right):
    for name in UPDATE:
        parameter = name.removeprefix("new_")
        gradient = f"grad_{parameter}"
        if parameter in ("b_h", "b_o"):
            yield Mistake(
                "bias-gradient-missing",
                name,
                (parameter,),
                f"the bias {parameter} is never updated",
                f"subtract lr·{gradient}",
            )
        yield Mistake(
            "not-updated",
            name,
            (parameter,),
            f"{parameter} is left as it was",
            f"subtract lr·{gradient}",
        )
        yield Mistake(
            "update-sign",
            name,
            (f"{parameter} + lr * {gradient}",),
            f"lr·{gradient} is added",
            "subtract it: the step goes down the gradient",
        )
        yield Mistake(
            "learning-rate",
            name,
            tuple(
                f"{parameter} - {gradient}{factor}"
                for factor in ("", " * (lr * lr)", " * lr / N", " * (lr * N)")
            ),
            "the learning rate is missing in {q}, in it twice, or divided by the batch size",
            f"{name} is {right[name].replace(' * ', '·')}",
        )
        yield Mistake(
            "gradients-accumulated",
            name,
            (f"{parameter} - lr * ({gradient} + accumulated['{parameter}'])",),
            "the earlier steps' gradients are still inside {q}",
            "start every step from zero gradients",
        )
        yield Mistake(
            "momentum",
            name,
            (f"{right[name]} - c * (lr * previous['{parameter}'])",),
            "the last step's gradient is in {q} once more, {c} times: momentum",
            "plain gradient descent has no memory",
        )
        yield Mistake(
            "weight-decay",
            name,
            (f"{right[name]} - c * (lr * {parameter})",),
            "{q} has an extra term, {c} times the parameter: weight decay",
            "leave the term out, or set it on both sides",
        )


def _anywhere(right):
    for name in ("z_h", "z_o"):
        layer = name[-1]
        given = {"h": "x", "o": "h"}[layer]
        yield Mistake(
            "transposed-weights",
            name,
            (f"{given} @ W_{layer} + b_{layer}",),
            f"W_{layer} is used the wrong way round in {{q}}",
            f"row j of W_{layer} holds the weights into neuron j",
        )
        yield Mistake(
            "bias-forgotten",
            name,
            (right[name].replace(f" + b_{layer}", ""),),
            "the bias is missing in {q}",
            f"add b_{layer}",
        )
    yield Mistake(
        "broadcast",
        "delta_o",
        (
            f"2 * (o - y.sum(axis=0) / N) / m{_PRIME_O}",
            f"2 * (N * o - y.sum(axis=0)) / m{_PRIME_O}",
            f"2 * (o - y.T) / m{_PRIME_O}",
        ),
        "every output meets every target in {q}: a (N,) target against (N, 1) outputs",
        "give the targets the shape (N, 1): y.reshape(-1, 1)",
    )
    yield Mistake(
        "broadcast",
        "loss",
        ("square(y.T - o).sum() / m / N", "square(y.T - o).sum() / m"),
        "every output meets every target in {q}: a (N,) target against (N, 1) outputs",
        "give the targets the shape (N, 1): y.reshape(-1, 1)",
    )
    for name in (*BACKWARD, "loss"):
        yield Mistake(
            "sign-flipped",
            name,
            (f"-1 * ({right[name]})",),
            "{q} is minus the right one",
            "the derivative of ½ (y − o)² by o is o − y",
        )
        yield Mistake(
            "scaled-by-constant",
            name,
            (f"c * ({right[name]})",),
            "{q} is {c} times the right one{cause}",
            "check the factor in front of the loss, and where the batch is averaged",
        )
