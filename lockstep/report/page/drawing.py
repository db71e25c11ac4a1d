"""What a page draws: a small network with its numbers, and the loss over the steps."""

from typing import Any

import numpy as np

from lockstep.network.names import PARAMETERS, label
from lockstep.network.problem import Problem

Data = dict[str, Any]  # what a template or the page's script reads

MOST = 6  # neurons a layer that can be drawn with their numbers
# whose values stand on the drawing
DRAWN = ("x", "y", "h", "o", "delta_h", "delta_o", *PARAMETERS)
_WIDTH, _MARGIN, _RADIUS = 720, 80, 37
_LAYERS = ((70, "input", "x"), (350, "hidden", "h"), (600, "output", "o"))
_CURVE_WIDTH, _CURVE_HEIGHT, _CURVE_TOP = 560, 140, 10


def is_drawable(problem: Problem) -> bool:
    """Whether the network is small enough for a drawing."""
    return max(problem.sizes) <= MOST


def drawing(problem: Problem) -> Data:
    """The network's drawing; of a batch the first sample.

    Returns:
        width, height, radius, `nodes` and `edges`. Each has the names that a click shows
        (`shown`) and the quantities that these belong to (`of`); a node has its place.
    """
    sizes = problem.sizes
    apart = max(118, 240 - 40 * max(sizes))
    height = _MARGIN * 2 + (max(sizes) - 1) * apart

    def named(names: list[str], *index: int) -> list[str]:
        return [label(name, index, sizes, problem.batch_samples) for name in names]

    def node(layer: int, i: int) -> Data:
        x, kind, name = _LAYERS[layer]
        y = round(height / 2 + (i - (sizes[layer] - 1) / 2) * apart, 1)
        (forward,) = named([name], 0, i)
        it: Data = {"x": x, "y": y, "kind": kind, "forward": forward}
        if layer == 0:
            return it | {"shown": [forward], "of": []}
        of, bias_of = [f"z_{name}", name, f"delta_{name}"], _trained(f"b_{name}")
        it |= {"shown": named(of, 0, i), "of": of}
        it |= {"bias_shown": named(bias_of, i), "bias_of": bias_of}
        it |= {"error": it["shown"][2], "bias": it["bias_shown"][0]}
        return it | ({"target": named(["y"], 0, i)[0]} if layer == 2 else {})

    layers = [[node(layer, i) for i in range(size)] for layer, size in enumerate(sizes)]
    edges = []
    for layer, weights in enumerate((_trained("W_h"), _trained("W_o"))):
        for j, target in enumerate(layers[layer + 1]):
            for i, source in enumerate(layers[layer]):
                shown = named(weights, j, i)
                ends = {"source": source, "target": target}
                edges.append(ends | {"weight": shown[0], "shown": shown, "of": weights})
    nodes = [it for layer in layers for it in layer]
    size = {"width": _WIDTH, "height": height, "radius": _RADIUS}
    return size | {"nodes": nodes, "edges": edges}


def _trained(parameter: str) -> list[str]:
    return [f"{prefix}{parameter}" for prefix in ("", "grad_", "new_")]


def widths(edges: list[Data], values: dict[str, float]) -> dict[str, int]:
    """How wide each edge is drawn, by its weight's name: 0 to 100, with the weight's sign."""
    weights = {edge["weight"]: values[edge["weight"]] for edge in edges}
    most = max(map(abs, weights.values()), default=0.0)
    if not 0 < most < float("inf"):
        return dict.fromkeys(weights, 0)
    return {name: round(100 * value / most) for name, value in weights.items()}


def loss_curve(steps: list[Data]) -> Data:
    """The loss of both sides as points of a drawing; logarithmic where it spans much."""
    losses = np.array([[_finite(loss) for loss in kept["loss"]] for kept in steps])
    seen = losses[np.isfinite(losses)]
    low, high = seen.min(initial=np.inf), seen.max(initial=-np.inf)
    first, last = steps[0]["step"], steps[-1]["step"]
    log = bool(0 < 20 * low < high)
    with np.errstate(all="ignore"):
        scaled, bottom, top = (np.log10(it) if log else it for it in (losses, low, high))
        up = (_CURVE_HEIGHT - _CURVE_TOP) * (scaled - bottom) / (top - bottom or 1.0)
    along = np.array([kept["step"] - first for kept in steps]) / (last - first or 1)
    xs, ys = np.round(_CURVE_WIDTH * along, 1).tolist(), np.round(_CURVE_HEIGHT - up, 1)
    manual, torch = ([(x, y) for x, y in zip(xs, side, strict=True)] for side in ys.T.tolist())
    return {
        "manual": _polyline(manual),
        "torch": _polyline(torch),
        "at": [b if np.isfinite(b[1]) else a for a, b in zip(manual, torch, strict=True)],
        "low": f"{low:.3g}" if seen.size else "",
        "high": f"{high:.3g}" if seen.size else "",
        "log": log,
        "first": first,
        "last": last,
    }


def _finite(loss: Any) -> float:
    """A loss of `step_data`; nan where it was not returned or is not finite."""
    return loss if isinstance(loss, float) else np.nan


def _polyline(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points if np.isfinite(y))
