"""The command of scripts/benchmark.py: how long a step takes by hand, by PyTorch, and verified."""

import itertools
import json
import os
import platform
import sys
from contextlib import ExitStack
from statistics import median
from typing import Any

import numpy as np
import torch

from lockstep.cli.main import Parser, printer, status, whole
from lockstep.cli.output import progress, whole_file
from lockstep.errors import Unusable
from lockstep.network.names import scalar_names
from lockstep.network.options import check
from lockstep.network.problem import make_problem
from lockstep.report.plots.curve import write
from lockstep.run.steps import after, most_ahead
from lockstep.run.threads import threads
from lockstep.sides.built_in import built_in, built_in_door
from lockstep.text import columns
from manual_backprop import neuron_by_neuron
from scripts.benchmarks.gradient_peers import gallery_lines
from scripts.benchmarks.growth import growth_lines
from scripts.benchmarks.peers import peers_lines
from scripts.benchmarks.timing import block_seconds, verified_step
from torch_reference import two_layer as torch_two_layer

NETWORKS = (
    ((2, 2, 2), 1),
    ((64, 64, 64), 32),
    ((784, 128, 10), 64),
    ((784, 300, 10), 128),
    ((1024, 1024, 1024), 256),
    ((2048, 2048, 2048), 512),
)
PARTS = ("manual", "torch", "turns", "lockstep", "run", "matmul")
RATIOS = (
    "manual_over_torch",
    "manual_over_matmul",
    "turns_over_both",
    "lockstep_over_both",
    "run_over_sides",
)


def parser():
    it = Parser(
        description="Time a step by hand, by PyTorch, and verified, in turn in one process: four to five minutes.",
        epilog="One thread on both sides, unless --threads says otherwise. A ratio is the median over the rounds, "
        "not the quotient of the median times.",
        allow_abbrev=False,
    )
    it.add_argument(
        "--quick", action="store_true", help="the three smaller networks: about twenty seconds"
    )
    it.add_argument(
        "--json",
        metavar="FILE",
        help="write the rows and the machine as one JSON document (-: standard output)",
    )
    it.add_argument(
        "--plot", metavar="FILE.png", help="both sides against size, as a picture (png, svg or pdf)"
    )
    it.add_argument(
        "--threads", type=whole, metavar="N", default=1, help="threads on both sides (default 1)"
    )
    it.add_argument(
        "--peers",
        action="store_true",
        help="instead: gradcheck, check_grad and allclose on the same gradients (five minutes)",
    )
    it.add_argument(
        "--growth",
        action="store_true",
        help="instead: time by steps and by parameters (ten minutes or more)",
    )
    return it


def main(arguments=None):
    """Run the command; returns its exit status."""
    options = parser().parse_args(arguments)
    return status(lambda: _timed(options))


def _timed(options):
    if options.threads < 1:
        raise Unusable(f"--threads: expected 1 or more, got {options.threads}")
    if options.peers or options.growth:
        _other(options)
    else:
        _steps(options)
    return 0


def _steps(options):
    if options.plot:
        check({"plot": options.plot}, lambda key: f"--{key}")
    rows: list[dict[str, Any]] = []
    with ExitStack() as files:
        json_file = sys.stdout
        if options.json and options.json != "-":
            json_file = files.enter_context(whole_file(options.json, "--json"))
        picture = (
            files.enter_context(whole_file(options.plot, "--plot", binary=True))
            if options.plot
            else None
        )
        try:
            rows.extend(_rows(NETWORKS[:3] if options.quick else NETWORKS, options))
        except KeyboardInterrupt:
            _tell(rows, options)
            raise
        if options.json:
            document = {"rows": rows, "machine": machine(options.threads)}
            json_file.write(json.dumps(document, allow_nan=False, indent=1) + "\n")
        if picture:
            _plot(picture, options.plot.rpartition(".")[2].lower(), rows)
    if options.json != "-":
        _tell(rows, options)


def _tell(rows, options):
    printed, _ = printer()
    printed(table(rows))
    printed(about(options.threads))


def _other(options):
    if options.json or options.plot:
        raise Unusable("--json and --plot go with the table of steps, not with --peers or --growth")
    printed, _ = printer()
    with threads(options.threads):
        printed(
            itertools.chain(peers_lines(), gallery_lines()) if options.peers else growth_lines()
        )
    printed(about(options.threads))


def _rows(networks, options):
    cases = [
        (sizes, samples, dtype) for sizes, samples in networks for dtype in ("float64", "float32")
    ]
    rounds, block = (7, 0.03) if options.quick else (9, 0.1)
    with progress(len(cases), "networks") as show, threads(options.threads):
        for done, (sizes, samples, dtype) in enumerate(cases, 1):
            yield row(sizes, samples, dtype, rounds, block)
            show(done)


def row(sizes, samples, dtype, rounds, block):
    """The times and ratios of one network. A round has a block of `block` seconds of each part, one after the other."""
    problem = network(sizes, samples, dtype)
    ways = dict(
        zip(
            PARTS,
            (
                _manual(problem),
                _torch(problem),
                _in_turn(problem),
                verified_step(problem, False),
                verified_step(problem, True),
                _matmul(problem),
            ),
            strict=True,
        )
    )
    together = most_ahead(problem)  # of every part alike: now and then a step is slow
    alone = {name: block_seconds(way, 2, together) for name, way in ways.items()}
    repeats = {name: max(1, round(block / (seconds * together))) for name, seconds in alone.items()}
    rounds = rounds if sum(alone.values()) < 1 else 3
    times = [
        {name: block_seconds(ways[name], repeats[name], together) for name in PARTS}
        for _ in range(rounds)
    ]
    ratios = {
        "manual_over_torch": [t["manual"] / t["torch"] for t in times],
        "manual_over_matmul": [t["manual"] / t["matmul"] for t in times],
        "turns_over_both": [t["turns"] / (t["manual"] + t["torch"]) for t in times],
        "lockstep_over_both": [t["lockstep"] / (t["manual"] + t["torch"]) for t in times],
        "run_over_sides": [t["run"] / (2 * t["manual"] + t["torch"]) for t in times],
    }
    return (
        {"sizes": "-".join(map(str, sizes)), "samples": samples, "dtype": dtype}
        | {f"{name}_us": 1e6 * median(t[name] for t in times) for name in PARTS}
        | {name: median(values) for name, values in ratios.items()}
    )


def network(sizes, samples, dtype):
    """A problem with nn.Linear's initial weights, uniform within 1 / √inputs, and sigmoid hidden neurons."""
    n_in, n_hidden, n_out = sizes
    random = np.random.default_rng(0)

    def drawn(*shape, inputs):
        return random.uniform(-1, 1, shape) / np.sqrt(inputs)

    weights = dict(
        W_h=drawn(n_hidden, n_in, inputs=n_in),
        b_h=drawn(n_hidden, inputs=n_in),
        W_o=drawn(n_out, n_hidden, inputs=n_hidden),
        b_o=drawn(n_out, inputs=n_hidden),
    )
    return make_problem(
        weights
        | {
            "sizes": sizes,
            "samples": samples,
            "dtype": dtype,
            "hidden_activation": "sigmoid",
            "lr": 1e-3,
            "steps": 10**9,
        }
    )


def _manual(problem):
    """A training step by hand, each from the weights of the one before."""
    step = built_in(problem)
    x, y = problem.batch(1)
    data, weights = {"x": x, "y": y}, dict(problem.parameters)
    if step.func is neuron_by_neuron.step:
        data, weights = _scalars(problem, data), _scalars(problem, weights)

    def train():
        nonlocal weights
        with np.errstate(all="ignore"):
            got = step(**weights, **data, lr=problem.lr)
        weights = {name: got[f"new_{name}"] for name in weights}

    return train


def _scalars(problem, arrays):
    kind = float if problem.dtype == "float64" else np.float32
    return {
        scalar: kind(number)
        for name, array in arrays.items()
        for scalar, number in zip(scalar_names(name, problem.sizes, 1), array.flat, strict=True)
    }


def _torch(problem):
    """A training step by PyTorch, each from the weights of the one before."""
    x, y = problem.batch(1)
    weights = problem.parameters

    def train():
        nonlocal weights
        weights = after(
            torch_two_layer.step(**weights, x=x, y=y, lr=problem.lr, **problem.network_settings)
        )

    return train


def _in_turn(problem):
    """A step by PyTorch and the same by hand, from the same weights, in turn, and nothing compared."""
    x, y = problem.batch(1)
    weights, by_hand = problem.parameters, built_in_door(problem)

    def train():
        nonlocal weights
        got = torch_two_layer.step(**weights, x=x, y=y, lr=problem.lr, **problem.network_settings)
        with np.errstate(all="ignore"):
            by_hand(weights, x, y, problem.lr, got)
        weights = after(got)

    return train


def _matmul(problem):
    """The five matrix products of a step alone, into arrays that are there."""
    W_h, _, W_o, _ = problem.parameters.values()
    x, y = problem.batch(1)
    h = np.ones((len(x), len(W_h)), x.dtype)
    products = [(x, W_h.T), (h, W_o.T), (y, W_o), (y.T, h), (h.T, x)]
    outs = [a @ b for a, b in products]

    def multiply():
        for (a, b), out in zip(products, outs, strict=True):
            np.matmul(a, b, out=out)

    return multiply


def machine(number):
    """What the figures depend on. number: of threads, on both sides."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": number,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                line.partition(": ")[2].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor()


def table(rows):
    """The rows as lines."""
    heads = (
        "network,samples,dtype,by hand,PyTorch,products,hand/torch,hand/products,turns/both,verified/both,run/sides"
    ).split(",")
    cells = [
        [
            row["sizes"],
            str(row["samples"]),
            row["dtype"],
            *(f"{row[f'{part}_us']:,.0f} us" for part in ("manual", "torch", "matmul")),
            *(f"{row[name]:.2f}" for name in RATIOS),
        ]
        for row in rows
    ]
    return [*columns([heads, *cells], "<><>>>>>>>>"), ""]


def about(number):
    """The machine, in two lines."""
    facts = machine(number)
    counted = "1 thread" if number == 1 else f"{number} threads"
    yield f"{facts['processor']}, {facts['cores']} cores, {counted} on both sides"
    yield f"numpy {facts['numpy']}, torch {facts['torch']}, Python {facts['python']}"


def _plot(file, kind, rows):
    """Both sides' time a step against the multiply-adds of a step, float64."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), dpi=150, layout="constrained")
    axes = figure.subplots()
    wide = [row for row in rows if row["dtype"] == "float64"]
    work = [_multiply_adds(row) for row in wide]
    parts = {
        "manual": "by hand",
        "torch": "PyTorch",
        "turns": "both in turn, nothing compared",
        "lockstep": "both, verified",
        "matmul": "the matrix products alone",
    }
    for (name, label), marker in zip(parts.items(), "osv^x", strict=True):
        axes.loglog(work, [row[f"{name}_us"] for row in wide], marker=marker, label=label)
    axes.set_xlabel("multiply-adds of a step")
    axes.set_ylabel("microseconds a step")
    axes.set_title("A training step by hand, by PyTorch, and verified (float64)")
    axes.legend()
    axes.grid(alpha=0.3)
    write(figure, file, kind)


def _multiply_adds(row):
    """Of the five matrix products."""
    n_in, n_hidden, n_out = map(int, row["sizes"].split("-"))
    return row["samples"] * n_hidden * (2 * n_in + 3 * n_out)
