"""The catalogue of mistakes: each is an edit of a right formula, with what to say about it."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np

from lockstep.explain.formulas import formulas, functions_of, inputs_of, replaced, split, tidy
from lockstep.explain.optimizing import EPSILONS, Right, Rows, updates
from lockstep.explain.symbols import Symbol
from lockstep.network.network import PER_SAMPLE, WITH_ACTIVATION, Network
from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import SUMS

Part: TypeAlias = Callable[[Network, Right], Rows]


class Mistake(NamedTuple):
    """One way to get a quantity wrong.

    A formula is in the names of the network's quantities; N, `ones_like` and `positive` (1 for a
    positive number, else 0); and those that the attributes below tell of.

    Attributes:
        name: one of the names of mistakes.
        quantity: the quantity that comes out wrong.
        says: a sentence for the user; {q} stands for the quantity, {c} for the fitted constant.
        remedy: what to do.
        formulas: the quantity's formula with the mistake, in each way in which it can be made.
        fitted: the formulas have a constant `c`, to be fitted.
        each: "sample" or "output": the formulas are for one of them, `[sample]`, or for all others,
            `[but_sample]`; each is to be tried in turn. An output is a neuron that it feeds.
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


@lru_cache(maxsize=64)
def catalogue(network: Network) -> tuple[Mistake, ...]:
    """Every mistake with a network, likelier ones first; in a frozen parameter's update too."""
    parts = (_error_terms, _gradients, updates, _penalties, _dropout, _losses, _others, _forward)
    return _mistakes(network, formulas(trained(network)), parts)


def on_top(network: Network, quantity: str, text: str) -> tuple[Mistake, ...]:
    """The mistakes of a quantity whose formula has one already.

    Args:
        network: The network.
        quantity: Its name.
        text: Its formula with the first mistake.
    """
    family = network[quantity].family.partition("_")[0]
    right = formulas(trained(network)) | {quantity: text}
    with suppress(AssertionError, ValueError):  # it cannot be split as the right one can
        found = _mistakes(network, right, _PARTS.get(family, ()))
        return tuple(one for one in found if one.quantity == quantity and not one.fitted)
    return ()


def _mistakes(network: Network, right: Right, parts: Iterable[Part]) -> tuple[Mistake, ...]:
    """The rows of the catalogue's parts that change a formula, with what their formulas need."""
    found = []
    for quantity, name, says, remedy, *texts in chain.from_iterable(
        part(network, right) for part in parts
    ):
        wrong = tuple(text for text in map(tidy, texts) if text != right[quantity])
        if not wrong:
            continue
        needs = set[str]().union(*map(inputs_of, wrong))
        each = next(iter(needs & {"sample", "output"}), None)
        history = not needs.isdisjoint({"accumulated", "previous"})
        found.append(
            Mistake(
                quantity=quantity,
                name=name,
                says=says,
                remedy=remedy,
                formulas=wrong,
                fitted="c" in needs,
                each=each,
                history=history,
            )
        )
    return tuple(found)


def trained(network: Network) -> Network:
    """The same network with every parameter trained."""
    return replace(network, frozen=())


def _error_terms(network: Network, right: Right) -> Rows:
    """Mistakes in the last factor of an error term, σ', and on the way back."""
    for l in reversed(network.layers):
        if l < network.depth or network.loss not in WITH_ACTIVATION:
            yield from _slopes(network, right, l)
    for l in reversed(network.layers[:-1]):
        yield from _ways_back(network, right, l)
        yield from _other_layers(network, right, l)
    yield from _output_slope(network, right)


def _slopes(network: Network, right: Right, l: int) -> Rows:
    """Mistakes in the last factor of a layer's error term, σ'."""
    name, z, s = (network.of(family, l) for family in ("delta", "z", "a"))
    sigma, prime = functions_of(network.suffix(l))
    error, slope = split(right[name])
    others = [other for other in ACTIVATIONS if other not in ("linear", *network.activations)]
    yield (
        name,
        "missing-activation-derivative",
        "the derivative of the activation function is left out of {q}",
        f"multiply by σ'({z})",
        error,
    )
    if l < network.depth and network.activations[l - 1] != "linear":
        yield (
            name,
            "extra-activation-derivative",
            "the derivative of the activation function is in {q} twice",
            f"multiply by σ'({z}) once",
            f"({right[name]}) * {slope}",
        )
    yield (
        name,
        "derivative-at-wrong-point",
        f"σ' in {{q}} is not taken at the pre-activation {z}",
        f"take σ' at {z}; a formula in terms of σ(z), such as s·(1 − s), takes {s}",
        f"({error}) * {prime}({s}, {sigma}({s}))",
        f"({error}) * {prime}({z}, {z})",
    )
    yield (
        name,
        "wrong-activation-derivative",
        "another function stands in {q} where the derivative of the activation function belongs",
        "sigmoid' is s·(1 − s), tanh' is 1 − s², relu' is 1 where z > 0",
        f"({error}) * (1 - {s})",
        f"({error}) * ({s} * (1 - {s}))",
        f"({error}) * (1 - {s} * {s})",
        f"({error}) * {s}",
        f"({error}) * ({s} * (1 + {s}))",
        f"({error}) * ((1 - {s}) * (1 - {s}))",
        f"({error}) * positive({z})",
        f"({error}) * positive({error})",
        *(f"({error}) * {other}_prime({z}, {other}({z}))" for other in others),
    )


def _ways_back(network: Network, right: Right, l: int) -> Rows:
    """Mistakes in what a hidden layer's error term is sent back from, and through."""
    name, sender, W = network.of("delta", l), network.of("delta", l + 1), network.of("W", l + 1)
    here, there = network.adjective(l), network.adjective(l + 1)
    _, slope = split(right[name])

    def back(weights: str = W, sent: str = sender) -> str:
        return replaced(right[name], {sender: sent, W: weights})

    yield (
        name,
        "updated-weights-used",
        f"the {here} error was computed with the {there} weights that this step had already "
        "changed",
        f"compute {name} before you assign the new {there} weights",
        back(right[f"new_{W}"]),
    )
    yield (
        name,
        "transposed-weights",
        f"{W} is used the wrong way round on the way back",
        f"{name}[i, j] sums {sender}[i, k]·{W}[k, j] over the outputs k",
        back(f"{W}.T"),
    )
    if l + 1 == network.depth and network.loss not in WITH_ACTIVATION:
        error, _ = split(right[sender])
        yield (
            name,
            "output-derivative-dropped",
            f"the error {network.of('a', l + 1)} − y is sent back instead of {sender}",
            f"send {sender} back, which contains the output's σ'",
            back(sent=error),
            back(sent=f"{network.of('a', l + 1)} - y"),
        )
    others = [network.of("W", other) for other in network.layers if other != l + 1]
    adds_up_to_0 = l + 1 == network.depth and network.activations[-1] == "softmax"
    yield (
        name,
        "wrong-weights",
        f"something else stands in place of {W} on the way back",
        f"send {sender} back through {W}",
        *(back(text) for other in others for text in (other, f"{other}.T")),
        back(f"grad_{W}"),
        *([] if adds_up_to_0 else [back(f"ones_like({W})")]),
        f"{sender} * {slope}",
    )
    yield (
        name,
        "term-missing",
        "only some of the outputs' terms are in the sum of {q}",
        f"every output that {network.of('a', l)} feeds into sends its error back",
        back(f"{W}[output]", f"{sender}[:, output]"),
        back(f"{W}[but_output]", f"{sender}[:, but_output]"),
    )


def _other_layers(network: Network, right: Right, l: int) -> Rows:
    """Another layer's derivative in an error term, or an error sent back past a layer."""
    name = network.of("delta", l)
    error, slope = split(right[name])
    others = [network.of("z", other) for other in network.layers if other != l]
    pairs = [(network.of("z", other), network.of("a", other)) for other in network.layers]
    _, own = functions_of(network.suffix(l))
    here = network.activations[l - 1]
    bends = here != "linear"  # else its slope is the same everywhere
    wrong = [f"({error}) * {own}({z}, {a})" for z, a in pairs if z in others and bends]
    for other, which in zip(network.layers, network.activations, strict=True):
        if which not in ("softmax", "linear", here):
            sigma, prime = functions_of(network.suffix(other))
            z, a = network.of("z", l), network.of("a", l)
            wrong += [f"({error}) * {prime}({z}, {s})" for s in (a, f"{sigma}({z})")]
    if wrong:
        yield (
            name,
            "wrong-layer-derivative",
            "σ' in {q} is that of another layer, or taken at another layer's values",
            f"the derivative is that of this layer's activation, at {network.of('z', l)}",
            *wrong,
        )
    if l + 2 <= network.depth:
        far, W, near = network.of("delta", l + 2), network.of("W", l + 2), network.of("W", l + 1)
        yield (
            name,
            "layer-skipped",
            f"{{q}} is sent back from {far}, past a layer",
            f"send {network.of('delta', l + 1)} back through {near}",
            *(f"{far} @ {path} * {slope}" for path in (W, near)),
        )


def _output_slope(network: Network, right: Right) -> Rows:
    """The output's σ' where the loss's derivative contains it, or there twice."""
    name, a = network.of("delta", network.depth), network.of("a", network.depth)
    if network.activations[-1] == "linear":
        return  # it is 1
    if network.loss in WITH_ACTIVATION:
        slopes = [f"({a} * (1 - {a}))"]
    else:
        _, slope = split(right[name])
        slopes = [slope]
    yield (
        name,
        "extra-activation-derivative",
        "the output's σ' is multiplied into {q}, which contains it already",
        f"{name} is {right[name].replace(' * ', '·')}",
        *(f"({right[name]}) * {slope}" for slope in slopes),
    )


def _by_sample(network: Network, text: str) -> list[str]:
    """The names in a formula of arrays with a row a sample."""
    names = (name for name in inputs_of(text) if name in network)
    return [name for name in names if network[name].family in PER_SAMPLE]


def _gradients(network: Network, right: Right) -> Rows:
    """Mistakes in the gradients."""
    for l in reversed(network.layers):
        yield from _weights_gradient(network, right, l)
        for name in _of_the_layer(network, right, l):
            yield from _sums_over_samples(network, right, name)
        if l < network.depth:
            yield from _made_from_what_is_sent_back(network, right, l)
        if network.of("grad_b", l) in right:
            yield from _biases_gradient(network, right, l)
    for l in reversed(network.layers[:-1]):
        yield from _by_updated_weights(network, right, l)
    for name in network.gradients:
        parameter = network.parameter(name)
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


def _of_the_layer(network: Network, right: Right, l: int) -> list[str]:
    """A layer's gradients."""
    names = (network.of("grad_W", l), network.of("grad_b", l))
    return [name for name in names if name in right]


def _weights_gradient(network: Network, right: Right, l: int) -> Rows:
    """Mistakes in the outer product of a layer's δ and its input."""
    delta, name, given = network.of("delta", l), network.of("grad_W", l), network.of("a", l - 1)
    arrays = ("x", *(network.of(kind, one) for one in network.layers for kind in "za"), "y")
    yield (
        name,
        "wrong-layer-input",
        f"{{q}} is computed from another array than {given}",
        f"the input of these weights is {given}",
        *(replaced(right[name], {given: other}) for other in arrays if other != given),
    )
    yield (
        name,
        "transposed-gradient",
        "the outer product in {q} is the wrong way round",
        f"row j belongs to {delta}[:, j]: {right[name]}",
        replaced(right[name], {delta: given, given: delta}),
    )


def _sums_over_samples(network: Network, right: Right, name: str) -> Rows:
    """A gradient to which not every sample contributes."""
    of = right[name]
    first, last, sample, but_sample = (
        replaced(of, {array: f"{array}[{rows}]" for array in _by_sample(network, of)})
        for rows in (":1", "-1:", "sample", "but_sample")
    )
    remedy = "sum over all samples"
    says = "only one sample of the batch counts in {q}"
    yield name, "one-sample-only", says, remedy, first, last
    says = "only some of the samples' terms are in the sum of {q}"
    yield name, "term-missing", says, remedy, sample, but_sample


def _made_from_what_is_sent_back(network: Network, right: Right, l: int) -> Rows:
    """A layer's gradients without its σ'."""
    delta = network.of("delta", l)
    error, _ = split(right[delta])
    for name in _of_the_layer(network, right, l):
        yield (
            name,
            "missing-activation-derivative",
            "the derivative of the activation function is left out of {q}: it is made from "
            f"what is sent back, and not from {delta}",
            f"{name} is made from {delta}, which has the factor σ'",
            replaced(right[name], {delta: f"({error})"}),
        )


def _biases_gradient(network: Network, right: Right, l: int) -> Rows:
    """Mistakes in the sum of a layer's δ."""
    delta, name, bias = network.of("delta", l), network.of("grad_b", l), network.of("b", l)
    remedy = f"sum {delta} over the samples alone: {delta}.sum(axis=0)"
    total = f"{delta}.sum() * ones_like({bias})"
    says = "{q} is one number for all biases: a sum without an axis"
    yield name, "bias-summed-over-neurons", says, remedy, f"{delta}.sum()", total
    if network.sizes[l] > 1:
        says = "{q} is one number for all biases, {c} times the sum of " + delta
        yield name, "bias-summed-over-neurons", says, remedy, f"c * ({total})"
    yield (
        name,
        "bias-gradient-averaged",
        "{q} is the mean over the batch",
        "sum over the samples; the loss's factor is in delta already",
        f"({right[name]}) / N",
    )
    remedy = f"the gradient of a bias is {delta}, summed over the samples"
    yield name, "bias-gradient-missing", "{q} is zero", remedy, f"0 * ({right[name]})"


def _by_updated_weights(network: Network, right: Right, l: int) -> Rows:
    """A layer's gradients, where the next layer's weights have been updated before."""
    delta, W = network.of("delta", l), network.of("W", l + 1)
    updated = replaced(right[delta], {W: right[f"new_{W}"]})
    for name in _of_the_layer(network, right, l):
        yield (
            name,
            "updated-weights-used",
            f"{{q}} was computed with the {network.adjective(l + 1)} weights that this "
            "step had already changed",
            "compute every gradient before you assign new weights",
            replaced(right[name], {delta: updated}),
        )


def _penalties(network: Network, right: Right) -> Rows:
    """L1 or L2 with another factor, on biases too, left out or there twice."""
    terms = {"l2": ("l2 * {}", "l2 / 2 * square({}).sum()"), "l1": ("l1 * sign({})", "")}
    for which, (of_gradient, of_loss) in terms.items():
        if not getattr(network, which):
            continue
        for l in reversed(network.layers):
            W, b = network.of("W", l), network.of("b", l)
            name, term = f"grad_{W}", of_gradient.format(W)
            factors = ("0", "2", "0.5", "1 / N", "N", "-1")
            yield (
                name,
                "penalty",
                f"the {which.upper()} penalty of {{q}} is left out, or has another factor",
                f"its part of the gradient is {term.replace(' * ', '·')}",
                *(replaced(right[name], {term: f"{factor} * ({term})"}) for factor in factors),
            )
            if b in network.parameters:
                yield (
                    f"grad_{b}",
                    "penalty",
                    f"{{q}} contains an {which.upper()} penalty, which belongs to weights alone",
                    "leave biases out of the penalty",
                    f"{right[f'grad_{b}']} + {of_gradient.format(b)}",
                )
        if of_loss:
            yield from _penalty_of_the_loss(network, right, of_loss)


def _penalty_of_the_loss(network: Network, right: Right, term: str) -> Rows:
    """The loss without its L2 penalty, with λ for λ/2, or with that of biases too."""
    whole = [term.format(network.of("W", l)) for l in network.layers]
    biases = [term.format(name) for name in network.parameters if network[name].family == "b"]
    yield (
        "loss",
        "penalty",
        "the L2 penalty of {q} is left out, has another factor, or counts biases too",
        "add λ/2 Σ W² over the weights of all layers",
        *(replaced(right["loss"], {one: f"{f} * ({one})" for one in whole}) for f in ("0", "2")),
        f"{right['loss']} + {' + '.join(biases)}" if biases else f"2 * ({right['loss']})",
    )


def _dropout(network: Network, right: Right) -> Rows:
    """The mask, or its 1/(1 − p), left out."""
    for mask in network.masked:
        for name in [name for name in right if mask in inputs_of(right[name])]:
            yield (
                name,
                "dropout-mask",
                f"{mask}, or its 1/(1 − p), is left out of {{q}}",
                f"multiply by {mask}, on the way forward and on the way back alike",
                replaced(right[name], {mask: f"ones_like({mask})"}),
                replaced(right[name], {mask: f"({mask} > 0)"}),
            )
        a = network.of("a", network[mask].layer)
        yield (
            a,
            "dropout-mask",
            f"your {{q}} is {a}·{mask}: after the mask",
            f"return {a} before the mask, which the next layer's input has",
            f"({right[a]}) * {mask}",
        )


def by_the_outputs(network: Network, eps: float = 0) -> Right:
    """The loss of a cross-entropy and its delta as formulas of the outputs; of squares nothing.

    eps: What is added inside the logarithm.
    """
    if network.loss not in SUMS:
        return {}
    by_z, by_o, prime = SUMS[network.loss]
    z, o = (Symbol.called(network.of(kind, network.depth)) for kind in "za")
    y, delta = Symbol.called("y"), network.of("delta", network.depth)
    right = formulas(trained(network))
    forms = {
        "loss": {by_z(z, y).text(): by_o(o, y, eps=eps).text()},
        delta: {(o - y).text(): prime(o, y, eps=eps).text()},
    }
    return {name: replaced(right[name], form) for name, form in forms.items()}


def _losses(network: Network, right: Right) -> Rows:
    """An ε inside a logarithm, and targets that are shifted by one."""
    delta = network.of("delta", network.depth)
    if network.loss in SUMS:
        z = Symbol.called(network.of("z", network.depth))
        total = np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True).text()
        inside = EPSILONS if network.activations[-1] == "softmax" else ()
        by_o = [by_the_outputs(network, eps) for eps in EPSILONS]
        yield (
            "loss",
            "log-epsilon",
            "an ε stands inside the logarithm of {q}",
            "compute the loss from the pre-activations, where none is needed",
            *(it["loss"] for it in by_o),
            *(replaced(right["loss"], {total: f"{total} + {eps}"}) for eps in inside),
        )
        yield (
            delta,
            "log-epsilon",
            "an ε stands in the denominators of {q}, as in the logarithm of the loss",
            "use the loss's own derivative, o − y, which needs none",
            *(it[delta] for it in by_o),
        )
    if network.loss in SUMS and network.activations[-1] == "sigmoid":
        o = Symbol.called(network.of("a", network.depth))
        slope = {(o * (1 - o)).text(): "1"}
        yield (
            delta,
            "missing-activation-derivative",
            "the derivative of the activation function is left out of {q}: it is ∂L/∂o",
            "multiply by σ'; the product is o − y, but for the factor of the mean",
            replaced(by_the_outputs(network)[delta], slope),
        )
    if network.activations[-1] == "softmax":
        kept = {size: size for size in ("y.shape[0]", "y.size")}
        for name in (delta, "loss"):
            yield (
                name,
                "targets-shifted",
                "the targets in {q} are shifted by one class",
                "labels count from 0: check how they are turned into rows",
                *(replaced(right[name], kept | {"y": f"roll(y, {by})"}) for by in (1, -1)),
            )
            yield (
                name,
                "targets-shifted",
                "the targets in {q} have a 1 wherever any sample has its class",
                "a row a sample: y[range(N), labels] = 1, or np.eye(n_out)[labels]",
                replaced(right[name], kept | {"y": "(y * 0 + (y.sum(axis=0) > 0))"}),
            )


def _forward(network: Network, right: Right) -> Rows:
    """A forward pass without its activation, or with another one."""
    for l, own in zip(network.layers, network.activations, strict=True):
        name, z = network.of("a", l), network.of("z", l)
        hidden = "hidden" if l < network.depth else "output"
        option = f"--{hidden}-activation" if network.depth == 2 else "--activations"
        if own != "linear":
            yield (
                name,
                "activation-forgotten",
                f"{{q}} is {z}, without the activation {own}",
                f"apply {own}; or compare with {option} linear",
                z,
            )
        if own == "softmax":
            e, own_e = f"exp({z})", f"exp({z} - {z}.max(axis=1, keepdims=True))"
            yield (
                name,
                "activation-forgotten",
                "your {q} is softmax over the samples: it is divided by sums over them",
                "sum over the classes of each sample: axis=1, keepdims=True",
                f"softmax({z}.T).T",
                *(f"{one} / {one}.sum({axis})" for one in (own_e, e) for axis in ("axis=0", "")),
            )
        if l > 1:
            below, before = network.of("a", l - 1), network.of("z", l - 1)
            yield (
                z,
                "activation-forgotten",
                f"{{q}} is computed from {before}, without the activation of {below}",
                f"the input of these weights is {below}",
                replaced(right[z], {below: before}),
            )
        for other in ACTIVATIONS:
            if other not in ("linear", own):
                yield (
                    name,
                    "activation-forgotten",
                    f"your {{q}} is {other}({z}), not {z if own == 'linear' else f'{own}({z})'}",
                    f"apply {own}; or compare with {option} {other}",
                    f"{other}({z})",
                )


def _others(network: Network, right: Right) -> Rows:
    """A pre-activation, a batch that is broadcast, a sign, a factor."""
    for l in network.layers:
        name, weights, biases = (network.of(family, l) for family in ("z", "W", "b"))
        yield (
            name,
            "transposed-weights",
            f"{weights} is used the wrong way round in {{q}}",
            f"row j of {weights} holds the weights into neuron j",
            replaced(right[name], {f"{weights}.T": weights}),
        )
        if biases in network.parameters:
            weighted, bias = split(right[name])
            yield name, "bias-forgotten", "the bias is missing in {q}", f"add {bias}", weighted
    yield from _broadcast(network, right)
    for name in (*network.backward, "loss"):
        if network[name].family != "grad_b":
            says = "{q} is zero"
            remedy = "look at what it is multiplied by, and whether it is filled in at all"
            yield name, "scaled-by-constant", says, remedy, f"0 * ({right[name]})"
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


def _broadcast(network: Network, right: Right) -> Rows:
    """Every output against every target."""
    if network.loss in WITH_ACTIVATION:
        return
    o, delta = network.of("a", network.depth), network.of("delta", network.depth)
    errors = (f"{o} - y.sum(axis=0) / N", f"N * {o} - y.sum(axis=0)", f"{o} - y.T")
    squares = replaced(right["loss"], {f"y - {o}": f"y.T - {o}"})
    for name, *wrong in (
        (delta, *(replaced(right[delta], {f"{o} - y": error}) for error in errors)),
        ("loss", f"{squares} / N", squares),
    ):
        yield (
            name,
            "broadcast",
            "every output meets every target in {q}: a (N,) target against (N, 1) outputs",
            "give the targets the shape (N, 1): y.reshape(-1, 1)",
            *wrong,
        )


# by the beginning of a quantity's family, what may be wrong with its formula
_PARTS: dict[str, tuple[Part, ...]] = {
    "delta": (_error_terms, _dropout, _losses, _others),
    "grad": (_gradients, _penalties, _others),
    "new": (updates,),
    "loss": (_penalties, _losses, _others),
}
