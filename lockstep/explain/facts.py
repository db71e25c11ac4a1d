"""What can be said of a wrong quantity without a formula: its digits, which elements, and what follows from it."""

import numpy as np

from lockstep.bound.bounded import Bounded, growth
from lockstep.explain.catalogue import GRADIENTS
from lockstep.explain.diagnosis import Diagnosis
from lockstep.explain.formulas import evaluate
from lockstep.network.names import COMPUTED, FORWARD

_STEPS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1.4901161193847656e-08, 1e-8, 1e-9, 1e-10)
_MOST_PARAMETERS = 2000


def by_columns(record, name, own):
    """A matrix that is right but for its being stored by columns, or None. own: what was returned."""
    torch, own = record.torch[name], np.asarray(own, np.float64)
    if own.ndim != 2 or torch.ndim != 2 or own.size != torch.size:
        return None
    for read, how in (
        (own.T, f"its transpose, of shape {torch.shape}, is right"),
        (own.reshape(torch.shape[::-1]).T, "its numbers, read column by column, are right"),
    ):
        if read.shape == torch.shape and (np.abs(read - torch) <= record.allowed[name]).all():
            says = f"{name} is stored by columns: {how}"
            return Diagnosis(
                name,
                "transposed-gradient",
                says,
                "row j has the weights into neuron j, as in nn.Linear",
            )
    return None


def by_its_rate(case, name, accepted):
    """A new parameter that another multiple of lr · gradient was subtracted from, or None."""
    base = name.removeprefix("new_")
    if name == base or case.returned(name) < 2:
        return None
    with np.errstate(all="ignore"):
        right, start = (
            case.evaluated(accepted, name)[name],
            np.asarray(case.record.parameters[base], np.float64),
        )
        step, own = right.value - start, case.own[name] - start
        at = np.unravel_index(int(np.argmax(np.abs(step))), step.shape)
        c = own[at] / step[at]
        fits = (np.abs(own - c * step) <= (1 + abs(c)) * right.bound()).all()
    if not (fits and np.isfinite(c) and c):
        return None
    return Diagnosis(
        name,
        "learning-rate",
        f"{name} is updated with {c:.9g} times the learning rate",
        "compare the learning rates, and what the gradient is multiplied by",
    )


def by_its_digits(case, name, accepted):
    """A quantity that is right to the digits of single precision or of difference quotients, or None."""
    with np.errstate(all="ignore"):
        right = case.evaluated(accepted, name)[name]
        own, off = case.own[name], case.off(name, right)
        error = own - right.value
        in_single = growth(right.k) * 2.0**-24 * right.scale
    if (
        case.record.dtype != "float64"
        or case.returned(name) < 2
        or off.sum() < 0.3 * np.count_nonzero(right.value)
    ):
        return None  # a few wrong elements are no lack of precision
    if (np.abs(error) <= in_single).all() and (own.astype(np.float32) == own).all():
        return Diagnosis(
            name,
            "single-precision",
            f"{name} is right to about 7 digits, as in float32",
            "compute in float64, or compare with --dtype float32",
        )
    step = _difference_quotient(case, name, error) if name in GRADIENTS else None
    size = np.abs(right.value).max()
    if step is None or size == 0:
        return None
    correct = max(int(-np.log10(np.abs(error).max() / size)), 0)
    return Diagnosis(
        name,
        "finite-differences",
        f"{name} is right to about {correct} digits, as difference quotients with a step of {step:.1g} are",
        "a difference quotient is only near the derivative: compare the formula itself",
    )


def _difference_quotient(case, name, error):
    """The step with which difference quotients of the loss have errors like these, or None."""
    parameter = name.removeprefix("grad_")
    start = case.record.parameters[parameter]
    if start.size > _MOST_PARAMETERS:
        return None
    right = case.record.torch[name]

    def loss(array):
        names = case.names | {parameter: Bounded.exact(array, case.precision)}
        for quantity in FORWARD:
            names[quantity] = evaluate(case.right[quantity], names)
        return float(names["loss"].value)

    def moved(by):
        losses = np.empty(start.shape)
        for index in np.ndindex(*start.shape):
            array = np.array(start, dtype=np.float64)
            array[index] += by
            losses[index] = loss(array)
        return losses

    here = loss(np.array(start, dtype=np.float64))
    with np.errstate(all="ignore"):
        for step in _STEPS:
            up, down = moved(step), moved(-step)
            noise = case.precision.u * max(abs(here), 1e-300) / step
            for quotient in ((up - here) / step, (here - down) / step, (up - down) / (2 * step)):
                predicted = quotient - right
                if _rms(error - predicted) <= 0.2 * _rms(error):
                    return step
                if all(0.02 * noise <= _rms(errors) <= 5 * noise for errors in (error, predicted)):
                    return step
    return None


def _rms(array):
    return float(np.sqrt(np.mean(np.square(array))))


def unknown(case, name, accepted):
    """The facts about a quantity that no mistake explains: how many elements, which, and their ratio."""
    with np.errstate(all="ignore"):
        right = case.evaluated(accepted, name)[name]
        own, off = case.own[name], case.off(name, right)
        ratio = (own / case.record.torch[name])[off]
    places = [tuple(map(int, place)) for place in np.argwhere(off)]
    where = f" ({', '.join(case.record.named(name, place) for place in places[:3])}{', and more' * (len(places) > 3)})"
    says = f"{len(places)} of {case.returned(name)} elements of {name} differ{where if own.ndim else ''}"
    if not np.isfinite(own).all():
        says += f"; {int((~np.isfinite(own)).sum())} of yours are not finite"
    elif len(ratio) and np.isfinite(ratio).all():
        low, high = f"{ratio.min():.12g}", f"{ratio.max():.12g}"
        says += f"; yours over PyTorch's is {low if low == high else f'{low} to {high}'}"
    return Diagnosis(name, "unknown", says)


def notes(record, diagnoses, wrong):
    """What else differs, and only because something before it does. wrong: `Case.globally_wrong`."""
    explained = {name for diagnosis in diagnoses for name in diagnosis.explains}
    led = [name for name in record.manual if name in wrong - explained]
    return (
        [f"{', '.join(led)} differ{'s' * (len(led) == 1)} only because of that"]
        if led and explained
        else []
    )


def coverage(record):
    """A remark on what a derivation did not return and so was not judged."""
    returned = {*record.manual, *record.misshapen}
    missing = [name for name in COMPUTED if name not in returned]
    missing += [f"a part of {name}" for name in record.covered]
    return [f"not returned, so not judged: {', '.join(missing)}"] if missing else []
