"""The options: keys of a problem file, options of `lockstep compare`, settings of `compare()`."""

import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from lockstep.errors import Unusable, need, short
from lockstep.network.names import Array
from lockstep.network.network import Network
from lockstep.network.terms import LAYOUTS, terms

ACTIVATION_NAMES = tuple(
    "linear sigmoid tanh relu leaky_relu elu softplus silu gelu gelu_tanh".split()
)
LOSS_NAMES = tuple(
    """
    mse sum half_sum sum_over_n half_sum_over_n bce bce_sum bce_over_n
    cross_entropy cross_entropy_sum
    """.split()
)
# by name, the settings of each optimiser, with PyTorch's defaults
OPTIMIZERS: dict[str, dict[str, float]] = {
    "sgd": {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0},
    "adam": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "rmsprop": {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0},
    "adagrad": {"eps": 1e-10, "weight_decay": 0.0},
}
MISTAKE_NAMES = tuple(
    """
    sign-flipped scaled-by-constant missing-activation-derivative derivative-at-wrong-point
    wrong-activation-derivative transposed-weights wrong-weights updated-weights-used
    output-derivative-dropped term-missing wrong-layer-input transposed-gradient
    bias-gradient-missing bias-gradient-averaged one-sample-only gradients-accumulated
    not-updated update-sign learning-rate weight-decay momentum broadcast wrong-shape
    single-precision finite-differences too-few-digits bias-forgotten
    activation-forgotten extra-activation-derivative wrong-layer-derivative layer-skipped
    bias-summed-over-neurons bias-learning-rate gradient-clipped log-epsilon targets-shifted
    penalty dropout-mask repeated-update momentum-form bias-correction epsilon-placement
    weight-decay-form unknown
    """.split()
)
DTYPE_NAMES = ("float64", "float32")
PICTURES = (".png", ".svg", ".pdf")
FILE = "in a problem file only"


@dataclass(frozen=True)
class Kind:
    """What the value of an option may be.

    Attributes:
        words: What a message calls the values that can be used.
        take: Converts a value; None where it cannot be used.
        metavar: What stands for the value in the help; None for a flag.
        type: How a command line gives it: as int, as float, as str, or, for bool, as a flag.
    """

    words: str
    take: Callable[[Any], Any]
    metavar: str | None
    type: type = str


@dataclass(frozen=True)
class Option:
    """One option, wherever it is given.

    Attributes:
        name: The key in a problem file; on a command line it has - for _.
        help: What it does.
        kind: What its value may be.
        default: The value where none is given, as `kind` converts it.
        otherwise: The default in words, where the value alone does not say it.
        extra: The extra of this package that it needs, if any.
    """

    name: str
    help: str
    kind: Kind
    default: Any = None
    otherwise: str = ""
    extra: str = ""

    @property
    def flag(self) -> str:
        """The option on a command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def without(self) -> str:
        """The default in words; empty where there is none."""
        return self.otherwise or ("" if self.default is None else str(self.default))


def number(
    type: type[int | float],
    words: str,
    minimum: float = -sys.float_info.max,
    most: float | None = None,
) -> Kind:
    """Finite numbers, whole ones for int, from a minimum on; True and False are none."""
    if most is None:
        most = 2**63 - 1 if type is int else sys.float_info.max

    def take(value: Any) -> float | None:
        usable = isinstance(value, int | type) and not isinstance(value, bool)
        return type(value) if usable and minimum <= value <= most else None

    return Kind(words, take, "N" if type is int else "X", type)


def _choice(names: tuple[str, ...], words: str = "one of") -> Kind:
    return Kind(
        f"{words} {', '.join(names)}",
        lambda value: value if value in names else None,
        "NAME",
    )


def file_kind(metavar: str, *endings: str) -> Kind:
    """Names of files, of those that end with one of these if any are given."""
    words = f"a file name that ends with {', '.join(endings)}" if endings else "the name of a file"

    def take(value: object) -> str | None:
        with suppress(UnicodeEncodeError):
            if isinstance(value, str) and value and b"\0" not in os.fsencode(value):
                return value if value.lower().endswith(endings or "") else None
        return None

    return Kind(words, take, metavar)


def _digits(text: str) -> int:
    """The whole number that a few digits say, or 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _sizes(value: Any) -> tuple[int, ...] | None:
    numbers = [*map(_digits, value.split("-"))] if isinstance(value, str) else value
    usable = isinstance(numbers, list | tuple) and len(numbers) >= 2
    return tuple(numbers) if usable and all(map(_POSITIVE.take, numbers)) else None


def _columns(value: Any) -> list[str] | None:
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    usable = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    return names or None if usable else None


def _names(value: Any) -> tuple[str, ...] | None:
    usable = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return tuple(value) if usable else None


def _activation(value: Any) -> str | None:
    """The name of an activation, leaky_relu also with its slope behind a colon."""
    if not isinstance(value, str):
        return None
    name, colon, slope = value.partition(":")
    if name == "leaky_relu" and colon:
        with suppress(ValueError):
            return value if _REAL.take(float(slope)) is not None else None
    return value if value in (*ACTIVATION_NAMES, "softmax") else None


def _activations(value: Any) -> tuple[str, ...] | None:
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    usable = isinstance(names, list | tuple) and names and all(map(_activation, names))
    return tuple(names) if usable else None


def _biases(value: Any) -> bool | tuple[bool, ...] | None:
    every = isinstance(value, list | tuple) and value and all(isinstance(b, bool) for b in value)
    return tuple(value) if every else value if isinstance(value, bool) else None


def _labels(value: Any) -> dict[str, str] | None:
    is_table = isinstance(value, Mapping) and all(isinstance(it, str) for it in value.values())
    return dict(value) if is_table and all(it.strip() for it in value.values()) else None


def _required(value: Any) -> tuple[str, ...] | None:
    return (value,) if value in ("all", "gradients") else tuple(_columns(value) or ()) or None


def _shown(value: Any) -> str | frozenset[int] | None:
    if value in ("all", "none"):
        return str(value)
    numbers = [value] if isinstance(value, int) else value
    if isinstance(value, str):
        numbers = [_digits(part.strip()) for part in value.split(",")]
    usable = isinstance(numbers, list | tuple | set | frozenset)
    return frozenset(numbers) if usable and all(map(_POSITIVE.take, numbers)) else None


def _numbers(value: Any, place: str = "the list", position: str = "element") -> "Array | None":
    """A float64 array from a list of numbers.

    Args:
        value: What was given.
        place: What a message calls the list.
        position: What it calls an element, before its number.
    """
    import numpy as np

    if not isinstance(value, list | tuple):
        return None
    if not value:
        raise Unusable(f"expected numbers, but {place} is empty")
    for j, element in enumerate(value, 1):
        if _REAL.take(element) is None:
            raise Unusable(f"expected finite numbers, got {short(element)} in {position} {j}")
    return np.array(value, np.float64)


def _targets(rows: Any) -> "Array | None":
    """A float64 array from a list of lists, or of whole numbers, which are labels."""
    import numpy as np

    if isinstance(rows, list | tuple) and rows and all(map(_is_whole, rows)):
        return np.array(rows, np.int64)
    return _matrix(rows)


def _is_whole(label: Any) -> bool:
    is_number = isinstance(label, Integral | float) and not isinstance(label, bool)
    return is_number and abs(label) < 2**53 and int(label) == label


def _matrix(rows: Any) -> "Array | None":
    """A float64 array from a list of lists."""
    import numpy as np

    usable = isinstance(rows, list | tuple) and all(isinstance(row, list | tuple) for row in rows)
    if not usable or not rows:
        return None
    for i, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            lengths = f"row 1 has {len(rows[0])} numbers and row {i} has {len(row)}"
            raise Unusable(f"expected rows of one length, but {lengths}")
        _numbers(row, f"row {i}", f"row {i}, column")
    return np.array(rows, np.float64)


FLAG = Kind("true or false", lambda value: value if isinstance(value, bool) else None, None, bool)
_SIZES = Kind(
    "two or more positive whole numbers, inputs-hidden-…-outputs, such as 2-2-2", _sizes, "2-2-2"
)
_COLUMNS = Kind("column names, separated by commas", _columns, "A,B")
_MATRIX = Kind("a list of rows, each a list of numbers", _matrix, None)
_VECTOR = Kind("a list of numbers", _numbers, None)
_TARGETS = Kind("a list of rows, each a list of numbers, or a list of labels", _targets, None)
_FROZEN = Kind("a list of names of parameters", _names, None)
_BIASES = Kind("true or false, or a list of these, one a layer", _biases, None)
_SHOW = Kind("step numbers such as 1,10, or all, or none", _shown, "1,10")
_ACTIVATION = Kind(
    f"one of {', '.join(ACTIVATION_NAMES)}, leaky_relu:0.2 with a slope of its own",
    _activation,
    "NAME",
)
_ACTIVATIONS = Kind(
    f"names, one a layer, out of {', '.join(ACTIVATION_NAMES)}", _activations, "A,B"
)
_TEXT = Kind("a text", lambda it: it.strip() or None if isinstance(it, str) else None, "TEXT")
_LABELS = Kind("a table of names and what they are called, both texts", _labels, None)
_MISTAKE = _choice(MISTAKE_NAMES, "the name of a mistake:")
_STEPS = number(int, "a whole number of steps, 0 or more", 0)
_PROBLEMS = number(int, "a whole number of problems, 0 to 10 000", 0, 10_000)
_SEED = number(int, "a whole number, 0 or more", 0)
_POSITIVE = number(int, "a positive whole number", 1)
_MEBIBYTES = number(int, "a positive whole number of MiB, up to 2**30", 1, 2**30)
_SECONDS = number(float, "a number of seconds above 0, up to 1 000 000", sys.float_info.min, 1e6)
_REQUIRED = Kind("all, gradients, or names of quantities", _required, "NAMES")
_REAL = number(float, "a finite number")
_TOLERANCE = number(float, "a finite number, 0 or more", 0)
_BETA = number(float, "a number from 0 on, below 1", 0, math.nextafter(1, 0))
# By the heading of their group.
GROUPS = {
    "network and data": (
        Option("sizes", "inputs-hidden-outputs", _SIZES, otherwise="from the data, or 2-2-2"),
        Option("samples", "number of random samples", _POSITIVE, 1),
        Option("data", "table of samples, with a header line", file_kind("FILE.csv")),
        Option("inputs", "columns of the table that are inputs", _COLUMNS),
        Option("targets", "columns of the table that are targets", _COLUMNS),
        Option("standardize", "scale every column to mean 0 and variance 1", FLAG),
    ),
    FILE: (
        Option("x", "the inputs, one row per sample", _MATRIX),
        Option("y", "the targets, one row per sample, or labels", _TARGETS),
        Option("W_h", "the hidden weights, one row per neuron (or W1 …)", _MATRIX),
        Option("b_h", "the hidden biases (or b1 …)", _VECTOR),
        Option("W_o", "the output weights, one row per neuron (or W2 …)", _MATRIX),
        Option("b_o", "the output biases (or b2 …)", _VECTOR),
        Option("biases", "whether there are biases, one for all layers or a list", _BIASES),
        Option("frozen", "the parameters that are not trained", _FROZEN, (), "none"),
        Option("title", "of a page and of a sheet", _TEXT, otherwise="what the network is"),
        Option("labels", "own names of quantities, and own words, of a page and a sheet", _LABELS),
    ),
    "settings": (
        Option("activations", "one per layer", _ACTIVATIONS, otherwise="see the next two"),
        Option("hidden_activation", ", ".join(ACTIVATION_NAMES), _ACTIVATION, otherwise="linear"),
        Option(
            "output_activation",
            "the same",
            _ACTIVATION,
            otherwise="linear, or the one that belongs to the loss",
        ),
        Option("loss", ", ".join(LOSS_NAMES), _choice(LOSS_NAMES), "mse"),
        Option("lr", "learning rate", _REAL, 0.05),
        Option("steps", "number of training steps", _STEPS, 100),
        Option("batch_size", "samples per step, taken in turn", _POSITIVE, otherwise="all"),
        Option("dtype", " or ".join(DTYPE_NAMES), _choice(DTYPE_NAMES), "float64"),
        Option("seed", "seed of the random numbers", _SEED, 0),
    ),
    "optimiser and penalty": (
        Option("optimizer", ", ".join(OPTIMIZERS), _choice(tuple(OPTIMIZERS)), "sgd"),
        Option("momentum", "of sgd", _TOLERANCE, otherwise="0"),
        Option("dampening", "of sgd's momentum", _REAL, otherwise="0"),
        Option("nesterov", "sgd's momentum in Nesterov's form", FLAG),
        Option("beta1", "of adam and adamw", _BETA, otherwise="0.9"),
        Option("beta2", "of adam and adamw", _BETA, otherwise="0.999"),
        Option("alpha", "of rmsprop", _TOLERANCE, otherwise="0.99"),
        Option("eps", "of all but sgd", _TOLERANCE, otherwise="1e-8, of adagrad 1e-10"),
        Option("weight_decay", "of any optimiser", _TOLERANCE, otherwise="0, of adamw 0.01"),
        Option("l1", "λ of the penalty λ Σ |W|", _TOLERANCE, 0.0),
        Option("l2", "λ of the penalty λ/2 Σ W²", _TOLERANCE, 0.0),
        Option("no_biases", "a network without biases", FLAG),
    ),
    "the side by hand": (
        Option(
            "derivation",
            "your step function: FILE.py or FILE.py:FUNCTION",
            file_kind("FILE.py"),
            otherwise="the function `step`; without a file, the project's own code",
        ),
        Option(
            "numbers",
            "results by name: FILE.toml from paper or a book, "
            "or FILE.jsonl recorded by a program (-: standard input)",
            file_kind("FILE"),
        ),
        Option(
            "layout",
            "how its arrays lie: linear (as nn.Linear has them), in_out (weights are inputs by "
            "outputs), columns (samples are columns), columns_in_out",
            _choice(tuple(LAYOUTS)),
            otherwise="found",
        ),
        Option(
            "names",
            "what its own names mean: syn0=W1.T,l2_delta=-delta2,dZ1=N*delta1,w=[b1 | W1]",
            Kind("a dict of names, or NAME=OURS, separated by commas", terms, "A=B"),
        ),
    ),
    "how hard to look": (
        Option(
            "battery",
            "compare on N other problems too; all must match",
            _PROBLEMS,
            otherwise="30, for a remark only",
        ),
        Option("control", "plant errors and show that each is caught", FLAG),
        Option(
            "referee",
            "find which side is nearer the truth, by exact arithmetic",
            FLAG,
            extra="exact",
        ),
    ),
    "the user's code": (
        Option(
            "time_limit",
            "seconds for loading the derivation, and for each step",
            _SECONDS,
            otherwise="none",
        ),
        Option(
            "memory_limit",
            "memory that the derivation may use, in MiB",
            _MEBIBYTES,
            otherwise="none",
        ),
        Option(
            "untrusted",
            "refuse a problem file that says how to judge, what to read or to write",
            FLAG,
        ),
    ),
    "verdict": (
        Option("rtol", "allow atol + rtol * |value| instead of what rounding explains", _TOLERANCE),
        Option("atol", "see --rtol", _TOLERANCE),
        Option("require", "what must be returned: all, gradients, or names", _REQUIRED),
        Option("keep_going", "do not stop at the first mismatching step", FLAG),
        Option(
            "expect", "exit with status 0 if this is the first diagnosis, otherwise 1", _MISTAKE
        ),
    ),
    "output": (
        Option("show", "steps to print in full, or all, or none", _SHOW, frozenset({1}), "1"),
        Option(
            "json",
            "write the result as one JSON document (-: to standard output, and nothing else there)",
            file_kind("FILE"),
        ),
        Option("trace", "write one line of JSON per step", file_kind("FILE.jsonl")),
        Option(
            "html",
            "write the run as a page to step through in a browser",
            file_kind("FILE"),
            extra="page",
        ),
        Option(
            "plot",
            "draw the run as one picture (png, svg or pdf)",
            file_kind("FILE.png", *PICTURES),
            extra="plot",
        ),
        Option(
            "worksheet",
            "write the first step as formulas with boxes to fill in (pdf or html), and its key",
            file_kind("FILE.pdf", ".pdf", ".html"),
        ),
        Option("code", "show each step as both sources side by side, with their values", FLAG),
        Option("quiet", "print the verdict alone", FLAG),
    ),
}
OPTIONS = {option.name: option for options in GROUPS.values() for option in options}
_READING = ("data", "inputs", "targets")
_CONVENTIONS = ("layout", "names")
# What a recording may say: it describes a network and its data, and nothing else.
DESCRIBING = {
    option.name: option
    for heading in ("network and data", FILE, "settings", "optimiser and penalty")
    for option in GROUPS[heading]
    if option.name not in (*_READING, "steps")
} | {option.name: option for option in GROUPS["the side by hand"] if option.name in _CONVENTIONS}
# What only the user may say, who is asked to say it on the command line.
JUDGING = ("steps", *(it.name for it in (*GROUPS["how hard to look"], *GROUPS["verdict"])))
# The values of options that are not given.
DEFAULTS: dict[str, Any] = {
    name: option.default for name, option in OPTIONS.items() if option.default is not None
}


def demand_describing(keys: Iterable[str], where: Callable[[str], str], who: str) -> None:
    """Raise Unusable for a key that says how to judge, what to read or to write.

    Args:
        keys: What is given.
        where: What a message calls a key, a function of its name.
        who: What cannot set it.
    """
    for key in keys:
        if key in OPTIONS and key not in DESCRIBING:
            expected = "expected keys that describe the network and its data"
            hint = f"; give {OPTIONS[key].flag} on the command line" if key in JUDGING else ""
            raise Unusable(f"{where(key)}: {who} cannot set this; {expected}{hint}")


def file_and_function(location: str) -> tuple[str, str]:
    """FILE.py and FUNCTION of FILE.py:FUNCTION; the function is `step` where none is named."""
    path, _, name = str(location).rpartition(":")
    return (path, name) if path and name.isidentifier() else (str(location), "step")


def _is_a_result(key: str) -> bool:
    """Whether a key is the name of a computed quantity, in either vocabulary."""
    deep = re.fullmatch(r"(z|a|delta|grad_a|(grad_|new_)[a-z_]*[Wb])[1-9]\d*", key)
    lecture = Network((2, 2, 2), ("linear", "linear"))
    return bool(deep) or bool(lecture.meant([key], 1, lecture.computed))


_ARRAY = re.compile(r"(?:(?:velocity|mean|square)_)?([Wb])(_[ho]|[1-9]\d*)|mask(_h|[1-9]\d*)")


def array_option(key: str) -> Option | None:
    """The option of an array by name: a parameter, an optimiser's memory, dropout's mask; or None.

    Examples:
        >>> array_option("velocity_W3").help
        "a parameter, or an optimiser's memory of one"
    """
    found = _ARRAY.fullmatch(key)
    if not found:
        return None
    if key.startswith("mask"):
        return Option(key, "the mask of dropout, 1/(1 − p) included", _MATRIX)
    what = "a parameter, or an optimiser's memory of one"
    return Option(key, what, _MATRIX if found[1] == "W" else _VECTOR)


def _expected(key: str, options: Mapping[str, Option]) -> str:
    """What a message says for an unknown key: which it may be meant for, and all there are."""
    from lockstep.setup.files import nearest

    if _is_a_result(key):
        hint = "; a file of results goes with --numbers"
    else:
        deep = Network((1,) * 100, ("linear",) * 99)
        meant = deep.meant([key], 1, (*deep.given, "lr")).values()
        hint = nearest(key, options)
        hint = next((f"; did you mean {of}?" for of, _ in meant if of != key), hint)
    arrays = ", W1 …, velocity_W1 …, mask1 …" if "x" in options else ""
    return f"expected one of {', '.join(options)}{arrays}{hint}"


def check(
    raw: Mapping[str, Any],
    where: Callable[[str], str],
    options: Mapping[str, Option] = OPTIONS,
) -> dict[str, Any]:
    """Check and convert the values of options.

    Args:
        raw: Values by the option's name.
        where: What a message calls an option, a function of its name.
        options: The options that exist.

    Raises:
        Unusable: The message names the option and says what is expected.
    """
    values = {}
    for key, value in raw.items():
        option = options.get(key) or (array_option(key) if "x" in options else None)
        if option is None:
            raise Unusable(f"{where(key)}: unknown key; {_expected(key, options)}")
        kind = option.kind
        plain = value.tolist() if hasattr(value, "tolist") else value  # of an array
        try:
            values[key] = kind.take(plain)
            if values[key] is None:
                raise Unusable(f"expected {kind.words}, got {short(plain)}")
        except Unusable as reason:
            raise Unusable(f"{where(key)}: {reason}") from None
        if option.extra and values[key]:
            need(where(key), option.extra)
    return values
