"""Mistakes in an optimiser's step: in its memory, in the new parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from lockstep.explain.formulas import replaced, split
from lockstep.network.network import Network

Right: TypeAlias = dict[str, str]  # the text of the right formulas by name
Rows: TypeAlias = Iterator[tuple[str, ...]]  # quantity, name, says, remedy, each formula

CORRECTIONS = ("1 - beta1 ** step", "1 - beta2 ** step")
EPSILONS = (1e-15, 1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)


def updates(network: Network, right: Right) -> Rows:
    """Mistakes in the new parameters and in the new memory."""
    for parameter in map(network.parameter, network.gradients):
        name, gradient = f"new_{parameter}", f"grad_{parameter}"
        update = right[name]
        start, step = split(update)
        subtracted = step.replace(" * ", "·")
        subtract = f"subtract {subtracted}"
        if network[parameter].family == "b":
            yield (
                name,
                "bias-learning-rate",
                "{q} is updated with {c} times the learning rate of the weights",
                "update biases with the learning rate of the weights",
                replaced(update, {"lr": "c * lr"}),
            )
            says = f"the bias {parameter} is never updated"
            yield name, "bias-gradient-missing", says, subtract, parameter
        yield name, "not-updated", f"{parameter} is left as it was", subtract, parameter
        yield (
            name,
            "update-sign",
            f"{subtracted} is added",
            "subtract it: the step goes down the gradient",
            f"{start} + {step}",
        )
        yield (
            name,
            "learning-rate",
            "the learning rate is missing in {q}, in it twice, or off by the batch size",
            f"{name} is {update.replace(' * ', '·')}",
            *(replaced(update, {"lr": rate}) for rate in ("1", "lr * lr", "lr / N", "lr * N")),
        )
        yield (
            name,
            "gradients-accumulated",
            "the earlier steps' gradients are still inside {q}",
            "start every step from zero gradients",
            replaced(update, {gradient: f"{gradient} + accumulated['{parameter}']"}),
        )
        if network.keeps:
            yield from _memory(network, right, parameter)
            continue
        yield (
            name,
            "repeated-update",
            "the update of {q} was done twice, or three times",
            "update once a step",
            *(replaced(update, {"lr": f"{times} * lr"}) for times in (2, 3)),
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


def _memory(network: Network, right: Right, parameter: str) -> Rows:
    """Mistakes that an optimiser with memory allows."""
    if network.optimizer == "sgd":
        yield from _momentum(network, right, parameter)
    else:
        yield from _roots(network, right, parameter)
        yield from _means(network, right, parameter)
    if network.optimizer in ("adam", "adamw"):
        yield from _corrections(network, right, parameter)
    if dict(network.settings).get("weight_decay"):
        yield from _decays(network, right, parameter)


def _momentum(network: Network, right: Right, parameter: str) -> Rows:
    """Momentum in another form, with another sign, or Nesterov's step for the plain one."""
    memory, new = f"new_velocity_{parameter}", f"new_{parameter}"
    kept, added = split(right[memory])
    plain = replaced(added, {"1 - dampening": "1"})
    yield (
        memory,
        "momentum-form",
        "{q} is momentum in another form: with (1 − β), with or without dampening, another sign, "
        "or without the velocity before",
        f"{memory} is {right[memory].replace(' * ', '·')}; at the first step {plain}",
        plain,
        f"{kept} + (1 - momentum) * ({plain})",
        f"{kept} + {plain}",
        f"{kept} - {plain}",
        f"{kept} - lr * ({plain})",
        f"{kept} + lr * ({plain})",
    )
    yield (
        memory,
        "momentum-form",
        "{q} has the momentum {c}",
        "compare with --momentum and that number, or take the one that is set",
        f"c * velocity_{parameter} + {added}",
    )
    nesterov = bool(dict(network.settings).get("nesterov"))
    other = f"{parameter} - lr * {memory}" if nesterov else ""
    ahead = f"{parameter} - lr * ({plain} + momentum * {memory})"
    old = f"velocity_{parameter}"
    yield (
        new,
        "momentum-form",
        "{q} is a step of momentum in another form or direction: plain for Nesterov's, reversed, "
        "or without the velocity",
        f"{new} is {right[new].replace(' * ', '·')}",
        f"{parameter} - lr * ({plain})",
        *filter(None, (other, "" if nesterov else ahead)),
        f"{parameter} - lr * ({plain} - momentum * {memory})",
        f"{parameter} - lr * {old}",
        f"{parameter} + momentum * {old} - (1 + momentum) * {memory}",
        f"{parameter} + {memory}",
        f"{parameter} - {memory}",
    )


def _roots(network: Network, right: Right, parameter: str) -> Rows:
    """ε inside the root, left out, or another one; the root or the square left out."""
    new = f"new_{parameter}"
    denominator = split(right[new])[1]
    below = split(denominator)[1]
    root = split(below)[0] if dict(network.settings)["eps"] else below
    if not root.startswith("sqrt("):
        return  # it is left out already
    corrected = [one for one in CORRECTIONS if one in root]
    radicand = root.removeprefix("sqrt(").removesuffix(")")
    start, step = split(right[new])
    longer, _ = split(step)
    plain = f"{start} - lr * grad_{parameter}"
    old = {f"new_{kept}_{parameter}": f"{kept}_{parameter}" for kept in network.keeps}
    yield (
        new,
        "momentum-form",
        "{q} is a step in another form: without the root, not divided by it, of the gradient "
        "alone, or of the memory from before the step",
        f"{new} is {right[new].replace(' * ', '·')}",
        replaced(right[new], {root: radicand}),
        f"{start} - {longer}",
        plain,
        plain.replace(f"grad_{parameter}", f"grad_{parameter} / ({below})"),
        replaced(right[new], old),
        *(replaced(right[new], {name: before}) for name, before in old.items()),
    )
    yield (
        new,
        "epsilon-placement",
        "ε in {q} stands inside the root, is left out, or is another one",
        f"the step is divided by {below}",
        *(
            replaced(right[new], {below: other})
            for other in (
                root,
                f"sqrt({radicand} + eps)",
                f"sqrt({radicand} + eps * eps)",
                *(f"{root} + {eps}" for eps in EPSILONS),
                *(f"sqrt({radicand} + {eps})" for eps in EPSILONS),
                *(f"{root} + eps / sqrt({one})" for one in corrected),
            )
        ),
    )


def _corrections(network: Network, right: Right, parameter: str) -> Rows:
    """Adam's 1 − βᵗ left out, without the power, or with another t."""
    new = f"new_{parameter}"
    ways = [dict.fromkeys(CORRECTIONS, "1"), *({one: "1"} for one in CORRECTIONS)]
    ways += [{one: one.replace(" ** step", "") for one in CORRECTIONS}]
    ways += [{one: f"1 / ({one})" for one in CORRECTIONS}]
    ways += [dict(zip(CORRECTIONS, CORRECTIONS[::-1], strict=True))]
    ways += [dict.fromkeys(CORRECTIONS, one) for one in CORRECTIONS]
    ways += [
        {one: one.replace("step", f"(step {by} 1)") for one in CORRECTIONS} for by in ("-", "+")
    ]
    yield (
        new,
        "bias-correction",
        "Adam's correction 1 − βᵗ is left out of {q}, multiplied, without its power, with the "
        "other β, or its t is one off",
        "divide the mean by 1 − β₁ᵗ and the square by 1 − β₂ᵗ; t is 1 at the first step",
        *(replaced(right[new], way) for way in ways),
    )


def _means(network: Network, right: Right, parameter: str) -> Rows:
    """A mean of Adam's or RMSprop's without its factor, with another β, or not of squares."""
    settings = dict(network.settings)
    betas = {"mean": "beta1", "square": "alpha" if "alpha" in settings else "beta2"}
    for which, beta in ((it, betas[it]) for it in network.keeps):
        name = f"new_{which}_{parameter}"
        formula = f"{name} is {right[name].replace(' * ', '·')}"
        if which == "square":
            says = "the gradient in {q} is not squared"
            linear = replaced(right[name], {}, {"square": "lambda a: a"})
            yield name, "momentum-form", says, formula, linear
            if "mean" in network.keeps:
                says = "{q} has the square of the mean in place of the gradient's"
                of_mean = replaced(
                    right[name], {}, {"square": f"lambda a: square(new_mean_{parameter})"}
                )
                yield name, "momentum-form", says, formula, of_mean
        if not settings.get(beta):
            continue
        kept, added = split(right[name])
        _, gradient = split(added)
        yield (
            name,
            "momentum-form",
            "{q} lacks the factor 1 − β, has β and 1 − β in each other's place, or starts from 0",
            formula,
            added,
            f"{kept} + {gradient}",
            replaced(right[name], {beta: f"(1 - {beta})", f"1 - {beta}": beta}),
        )
        if "beta1" in settings:
            yield (
                name,
                "bias-correction",
                "{q} is kept with its correction 1 − βᵗ, which belongs into the step alone",
                f"keep {name} uncorrected, and correct a copy of it",
                f"({right[name]}) / (1 - {beta} ** step)",
            )
        yield (
            name,
            "momentum-form",
            f"{{q}} is a mean with {{c}} in place of {beta}",
            f"compare with --{beta} and that number, or take the one that is set",
            f"c * {which}_{parameter} + (1 - c) * ({gradient})",
        )


def _decays(network: Network, right: Right, parameter: str) -> Rows:
    """Coupled decay where decoupled belongs, or the reverse."""
    new, gradient = f"new_{parameter}", f"grad_{parameter}"
    decayed = f"{gradient} + weight_decay * {parameter}"
    if network.optimizer == "adamw":
        for which in ("mean", "square"):
            name = f"new_{which}_{parameter}"
            yield (
                name,
                "weight-decay-form",
                "the decay of the weights is inside {q}: coupled, as in Adam",
                "AdamW takes it from the parameter, and leaves the gradient alone",
                replaced(right[name], {gradient: f"({decayed})"}),
            )
        first = f"{parameter} - lr * weight_decay * {parameter}"
        stepped = f"({replaced(right[new], {first: parameter})})"
        yield (
            new,
            "weight-decay-form",
            "the decay of the weights is left out of {q}, not scaled by the learning rate, or done "
            "after the step",
            f"{new} starts from {first.replace(' * ', '·')}",
            replaced(right[new], {first: parameter}),
            replaced(right[new], {first: f"{parameter} - weight_decay * {parameter}"}),
            f"{stepped} - lr * weight_decay * {stepped}",
        )
        return
    for name in (*(f"new_{kept}_{parameter}" for kept in network.keeps), new):
        if decayed in right[name]:
            yield (
                name,
                "weight-decay-form",
                "the decay of the weights is left out of {q}: decoupled, as in AdamW, or forgotten",
                f"the gradient is {decayed.replace(' * ', '·')}",
                replaced(right[name], {decayed: gradient}),
            )
    yield (
        new,
        "weight-decay-form",
        "the parameter in {q} decays by itself: decoupled, as in AdamW",
        "leave the parameter alone: the decay is in the gradient",
        f"{right[new]} - lr * weight_decay * {parameter}",
        f"{right[new]} - weight_decay * {parameter}",
    )
