"""A small network as a drawing: where its neurons and edges are, and what stands on them."""

from lockstep.network.names import label

MOST = 6  # neurons a layer that can be drawn with their numbers
_WIDTH, _LAYER, _MARGIN, _RADIUS = 720, (70, 350, 600), 80, 37


def is_drawable(problem):
    return max(problem.sizes) <= MOST


def drawing(problem, samples):
    """The network's drawing as plain data; of a batch the first sample.

    Returns width, height, radius, `nodes` and `edges`. Each has its place, the names of the values that are told of it
    (`shown`), and the quantities that these belong to (`of`).
    """

    def named(name, *index):
        return label(name, index, problem.sizes, samples)

    n_in, n_hidden, n_out = problem.sizes
    apart = max(118, 240 - 40 * max(problem.sizes))
    height = _MARGIN * 2 + (max(problem.sizes) - 1) * apart

    def at(layer, i, count):
        return {"x": _LAYER[layer], "y": round(height / 2 + (i - (count - 1) / 2) * apart, 1)}

    inputs = [
        {
            **at(0, i, n_in),
            "kind": "input",
            "forward": named("x", 0, i),
            "shown": [named("x", 0, i)],
            "of": [],
        }
        for i in range(n_in)
    ]
    hidden = [_neuron(named, "h", j, at(1, j, n_hidden)) for j in range(n_hidden)]
    output = [_neuron(named, "o", k, at(2, k, n_out)) for k in range(n_out)]
    for k, node in enumerate(output):
        node["target"] = named("y", 0, k)
    edges = [
        _edge(named, "W_h", (j, i), inputs[i], node)
        for j, node in enumerate(hidden)
        for i in range(n_in)
    ]
    edges += [
        _edge(named, "W_o", (k, j), hidden[j], node)
        for k, node in enumerate(output)
        for j in range(n_hidden)
    ]
    nodes = inputs + hidden + output
    names = [edge["weight"] for edge in edges]
    names += [
        node[kind]
        for node in nodes
        for kind in ("forward", "error", "target", "bias")
        if kind in node
    ]
    return {
        "width": _WIDTH,
        "height": height,
        "radius": _RADIUS,
        "nodes": nodes,
        "edges": edges,
        "names": names,
    }


def _neuron(named, layer, i, place):
    values = [f"z_{layer}", layer, f"delta_{layer}"]
    bias = [f"{prefix}b_{layer}" for prefix in ("", "grad_", "new_")]
    return place | {
        "kind": "hidden" if layer == "h" else "output",
        "forward": named(layer, 0, i),
        "error": named(f"delta_{layer}", 0, i),
        "shown": [named(name, 0, i) for name in values],
        "of": values,
        "bias": named(bias[0], i),
        "bias_shown": [named(name, i) for name in bias],
        "bias_of": bias,
    }


def _edge(named, weights, index, source, target):
    """An edge from one node to another, cut off where the circles begin; its label stands a third of the way along."""
    names = [f"{prefix}{weights}" for prefix in ("", "grad_", "new_")]
    along = target["x"] - source["x"], target["y"] - source["y"]
    length = (along[0] ** 2 + along[1] ** 2) ** 0.5
    cut = _RADIUS / length
    ends = [
        source["x"] + along[0] * cut,
        source["y"] + along[1] * cut,
        target["x"] - along[0] * cut,
        target["y"] - along[1] * cut,
    ]
    x1, y1, x2, y2 = (round(end, 1) for end in ends)
    place = {"lx": round(x1 + (x2 - x1) * 0.37, 1), "ly": round(y1 + (y2 - y1) * 0.37 - 5, 1)}
    shown = [named(name, *index) for name in names]
    return {
        "x1": x1,
        "y1": y1,
        "x2": x2,
        "y2": y2,
        "weight": shown[0],
        "shown": shown,
        "of": names,
    } | place


def numbers(record, problem, samples):
    """The values on the drawing, by name: of the parameters, and of the first sample."""
    values = {}
    for name, array in (
        *record.parameters.items(),
        ("x", record.x),
        ("y", record.y),
        *record.torch.items(),
        *record.manual.items(),
    ):
        of_sample = name in ("x", "y", "z_h", "h", "z_o", "o", "delta_o", "delta_h")
        for place, value in zip(_places(array.shape, of_sample), array.ravel(), strict=False):
            values[label(name, place, problem.sizes, samples)] = float(value)
    return values


def _places(shape, of_sample):
    if not shape:
        return [()]
    if len(shape) == 1:
        return [(i,) for i in range(shape[0])]
    return [(i, j) for i in range(1 if of_sample else shape[0]) for j in range(shape[1])]


def widths(edges, values):
    """How wide each edge is drawn, by its weight's name: 0 to 100, with the weight's sign."""
    most = max((abs(values[edge["weight"]]) for edge in edges), default=0.0)
    if not 0 < most < float("inf"):
        return {edge["weight"]: 0 for edge in edges}
    return {edge["weight"]: round(100 * values[edge["weight"]] / most) for edge in edges}
