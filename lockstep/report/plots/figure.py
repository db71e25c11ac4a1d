"""A run as one picture: loss, differences and drift, the parameters' paths, gradients against gradients."""

import numpy as np

from lockstep.network.names import PARAMETERS, label
from lockstep.report.album import Album
from lockstep.report.plots.curve import BLUE, GREY, ORANGE, write
from lockstep.text import ulps

RED = "#b3121d"
MOST_STEPS, MOST_PATHS, MOST_POINTS = 400, 12, 2000


def new_album(problem):
    """An empty album of what the picture needs of each step."""
    chosen = _chosen(problem)
    return Album(lambda record, result: _point(record, result, chosen), MOST_STEPS)


def _chosen(problem):
    """The parameters whose paths are drawn, as (label, name, index): all of a small network, a dozen of a large one."""
    places = (
        [
            (name, index)
            for name in PARAMETERS
            for index in np.ndindex(problem.parameters[name].shape)
        ]
        if sum(array.size for array in problem.parameters.values()) <= MOST_PATHS
        else [
            (
                name,
                tuple(int(i) for i in np.unravel_index(position, problem.parameters[name].shape)),
            )
            for name in PARAMETERS
            for position in sorted(
                {0, problem.parameters[name].size // 2, problem.parameters[name].size - 1}
            )
        ]
    )
    return [
        (label(name, index, problem.sizes, problem.batch_samples), name, index)
        for name, index in places
    ]


def _point(record, result, chosen):
    """What is drawn of one step."""
    pairs = record.drifting()
    drift = (
        max(float(ulps(mine, theirs, record.dtype).max()) for mine, theirs in pairs)
        if pairs
        else None
    )
    hand = result.free or {
        name: record.manual[f"new_{name}"] for name in PARAMETERS if f"new_{name}" in record.manual
    }
    apart = allowed = 0.0
    if record.manual:
        with np.errstate(all="ignore"):
            one = np.spacing(np.abs(record.flat_torch.astype(record.dtype))).astype(np.float64)
            at = int(np.argmax(np.nan_to_num(record.ratio(), nan=np.inf)))
            apart, allowed = record.difference[at] / one[at], record.flat_allowed[at] / one[at]
    loss = record.manual.get("loss")
    return {
        "step": record.number,
        "loss": (float("nan") if loss is None else float(loss), float(record.torch["loss"])),
        "apart": (float(apart), float(allowed)),
        "drift": drift,
        "paths": {
            name: (
                float(hand[of][index]) if of in hand else float("nan"),
                float(record.torch[f"new_{of}"][index]),
            )
            for name, of, index in chosen
        },
        "gradients": [
            pair
            for name in record.manual
            if name.startswith("grad_")
            for pair in _pairs(record, name)
        ],
    }


def _pairs(record, name):
    """(by hand, PyTorch, whether they agree) of a gradient's elements, of a large one a selection."""
    hand, torch, allowed = (
        record.manual[name].ravel(),
        record.torch[name].ravel(),
        record.allowed[name].ravel(),
    )
    every = max(hand.size // 20, 1)
    return [
        (float(a), float(b), bool(abs(a - b) <= most))
        for a, b, most in zip(hand[::every], torch[::every], allowed[::every], strict=True)
    ]


def draw(figure, result, album):
    """Draw a run into a matplotlib Figure. album: see `new_album`."""
    from matplotlib.ticker import MaxNLocator

    points = album.steps(result)
    (loss, apart), (paths, gradients) = figure.subplots(2, 2)
    steps = [point["step"] for point in points]
    _loss(loss, steps, points, result.side)
    _differences(apart, steps, points)
    _paths(paths, steps, points, result)
    _gradients(gradients, points, result)
    if result.first:
        for axes in (loss, apart, paths):
            axes.axvline(result.first.step, color=RED, linestyle=":", label="first that differs")
    for axes in (loss, apart, paths):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(points) == 1:
            axes.set_xlim(steps[0] - 1, steps[0] + 1)
        for line in axes.lines:
            if len(points) < 3 and line.get_linestyle() == "-":
                line.set_marker("o")
    for axes in (loss, apart, paths, gradients):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=11)
        axes.grid(alpha=0.3)
    figure.suptitle(
        f"{result.side} next to PyTorch, {'-'.join(map(str, result.problem.sizes))}: {result.verdict}"
    )


def _loss(axes, steps, points, side):
    torch = [point["loss"][1] for point in points]
    axes.plot(steps, torch, color=ORANGE, linewidth=5, alpha=0.6, label="PyTorch")
    hand = [point["loss"][0] for point in points]
    axes.plot(steps, hand, color=BLUE, linewidth=2, label=side if np.isfinite(hand).any() else None)
    if torch and min(torch) > 0 and max(torch) < float("inf") and max(torch) > 20 * min(torch):
        axes.set_yscale("log")
    axes.set(title="Loss", xlabel="training step", ylabel="loss")


def _differences(axes, steps, points):
    axes.plot(
        steps,
        [point["apart"][1] for point in points],
        color=GREY,
        linewidth=2,
        label="allowed by rounding",
    )
    axes.plot(
        steps,
        [point["apart"][0] for point in points],
        "o",
        color=BLUE,
        markersize=4,
        label="largest difference for its bound, of one step",
    )
    if points and points[-1]["drift"] is not None:
        drift = [point["drift"] for point in points]
        axes.plot(
            steps,
            drift,
            color=ORANGE,
            linewidth=2,
            label="drift, not judged: both trained on their own",
        )
    axes.set_yscale("symlog", linthresh=1)
    axes.set(title="Differences", xlabel="training step", ylabel="units in the last place (ULP)")
    axes.set_ylim(bottom=0)


def _paths(axes, steps, points, result):
    side, count = result.side, sum(array.size for array in result.problem.parameters.values())
    names = list(points[0]["paths"]) if points else []
    by_hand = []
    for i, name in enumerate(names):
        hand, torch = zip(*(point["paths"][name] for point in points), strict=True)
        axes.plot(
            steps, torch, color=ORANGE, linewidth=4, alpha=0.5, label="PyTorch" if i == 0 else None
        )
        by_hand += axes.plot(steps, hand, color=BLUE, linewidth=1.5)
    for line in [line for line in by_hand if np.isfinite(line.get_ydata()).any()][:1]:
        line.set_label(side)
    title = "Parameters" if len(names) == count else f"Parameters ({len(names)} of {count})"
    axes.set(title=title, xlabel="training step", ylabel="value after the step")
    axes.margins(x=0.02)
    last = {name: points[-1]["paths"][name][1] for name in names}
    _names(axes, {name: value for name, value in last.items() if np.isfinite(value)})


def _gradients(axes, points, result):
    pairs = np.array([pair for point in points for pair in point["gradients"]]).reshape(-1, 3)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    pairs = pairs[:: max(len(pairs) // MOST_POINTS, 1)]
    if len(pairs):
        ends = [pairs[:, :2].min(), pairs[:, :2].max()]
        axes.plot(ends, ends, color=GREY, linewidth=1, label="the same")
    for agrees, marker, color, words in ((1, "o", BLUE, "agrees"), (0, "X", RED, "differs")):
        hand, torch = pairs[pairs[:, 2] == agrees][:, :2].T
        if len(hand):
            axes.plot(
                torch,
                hand,
                marker,
                color=color,
                markersize=6,
                alpha=0.6,
                label=f"an element that {words}",
            )
    if not len(pairs):
        axes.text(
            0.5, 0.5, "no gradient was given", ha="center", va="center", transform=axes.transAxes
        )
    axes.set(title="Gradients", xlabel="PyTorch", ylabel=result.side)


def _names(axes, last):
    """Write each line's name at its end, moved apart where they would cover each other."""
    low, high = axes.get_ylim()
    room = (high - low) / 16
    names = sorted(last, key=last.__getitem__)
    heights = [last[name] for name in names]
    for i in range(1, len(names)):
        heights[i] = max(heights[i], heights[i - 1] + room)
    for i in range(len(names) - 1, -1, -1):
        heights[i] = min(heights[i], heights[i + 1] - room if i + 1 < len(names) else high)
    for name, height in zip(names, heights, strict=True):
        axes.annotate(
            name,
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
        )


def save(file, kind, result, album):
    """Write the picture to an open file. kind: png, svg or pdf."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 13}):
        figure = Figure(figsize=(14, 9.5), dpi=110, layout="constrained")
        draw(figure, result, album)
        write(figure, file, kind)
