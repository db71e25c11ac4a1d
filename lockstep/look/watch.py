"""The program of the child process that a user's program runs in, watched line by line.

It imports NumPy and the user's program, never PyTorch on its own. After each line of the user's
files it looks at the values of the names in that line, and sends those that are new.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import threading
import time
import types
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.look.source import Program, imports_of, names_by_line, stored_by_line
from lockstep.network.names import Array, Quantities
from lockstep.sides.code import raised
from lockstep.sides.limits import keep_to
from lockstep.sides.serve import Channel

_SAMPLED = 2**20  # elements from which an array's fingerprint is that of a sample
_MOST = 2**30  # bytes of arrays that are sent in all
_ITEMS = 64  # of a list of arrays or objects; a longer one is data, met one by one
_NODES = 4000  # values that are looked at after one line
_DEPTH = 6
_SPENT = 0.3  # seconds on one line of one call, from which it is looked at ever more seldom
_FIRST, _EVERY = 150, 1.5  # values after which they are sent, and seconds
_NUMBERS_EACH = 4  # numbers that count as much as a value that is an array
# numbers of a variable that are sent at once, whole ones and others
_COUNTS, _VALUES = 200, 100_000
_NUMBERS = (float, int, np.floating, np.integer)
_exit = os._exit


class Watch:
    """What the values of a program are, line by line.

    Attributes:
        told: Sentences about what was done for the program to run.
        calls: Whether the file has run, and what is to be called after it runs.
    """

    def __init__(self, program: Program, channel: Channel) -> None:
        self.program, self.channel, self.told = program, channel, list[str]()
        self.calls = False
        self._names: dict[str, tuple[dict[int, set[str]], dict[int, set[str]]] | None] = {}
        self._contents: dict[tuple[Any, ...], int] = {}
        self._last: dict[tuple[str, str], int] = {}
        self._spent: dict[tuple[int, int], list[float]] = {}
        self._time = self._bytes = self._nodes = self._numbers = 0
        self._next, self._sent_at = _FIRST, time.monotonic()
        self._seen: list[tuple[int, str, int, str, int, str]] = []
        self._arrays: Quantities = {}
        self._series: dict[tuple[str, int, str, str], list[tuple[int, float]]] = {}
        self._lists: dict[tuple[str, str], tuple[int, int, int]] = {}
        self._partial: list[int] = []
        self._values: dict[tuple[str, str], float] = {}
        self._at: tuple[str, int, str] = "", 0, ""
        self._visited: set[int] = set()
        self._stores: Collection[str] = ()  # what the line assigns to, such as .delta
        self._assigned: dict[str, tuple[str, int, str]] = {}  # by .delta where it was assigned

    def trace(self, frame: Any, event: str, arg: Any) -> Any:
        """What Python calls for each call: the user's functions are watched."""
        code = frame.f_code
        if code.co_name[0] == "<" and code.co_name != "<module>":
            return None
        names = self._names_of(code.co_filename)
        if names is None:
            return None
        mentioned, stored = names
        before = 0
        self._at = code.co_name, frame.f_lineno, code.co_filename
        self._time += 1
        for name in code.co_varnames[: code.co_argcount]:
            value = frame.f_locals.get(name)
            if _is_number(value):
                self._number(name, value)

        def follow(frame: Any, event: str, arg: Any) -> Any:
            nonlocal before
            if event == "exception":
                return follow
            if before:
                self._look(frame, before, mentioned, stored.get(before, ()))
            if event == "line":
                before = frame.f_lineno
                self._look(frame, before, mentioned, ())
            elif event == "return" and arg is not None:
                self._at = code.co_name, before, code.co_filename
                self._visited, self._nodes = set(), 0
                with suppress(Exception):
                    self._walk(f"{code.co_name}()", arg, 0)
            return follow

        return follow

    def beside(self, frame: Any, event: str, arg: Any) -> Any:
        """What Python calls for each call in another thread: of the user's functions it is said."""
        threads = "what runs in a thread of its own is not watched: call it in the main one"
        if threads not in self.told and self._names_of(frame.f_code.co_filename) is not None:
            self.told.append(threads)

    def _names_of(self, path: str) -> tuple[dict[int, set[str]], dict[int, set[str]]] | None:
        """By line the names that a file of the user's mentions and stores; None for other files."""
        if path not in self._names:
            tree = self.program.tree_of(path)
            self._names[path] = (names_by_line(tree), stored_by_line(tree)) if tree else None
        return self._names[path]

    def _look(
        self, frame: Any, line: int, mentioned: dict[int, set[str]], stores: Collection[str]
    ) -> None:
        names = mentioned.get(line)
        if not names:
            return
        spent = self._spent.setdefault((id(frame), line), [0.0, 0.0])
        spent[1] += 1
        if spent[0] > _SPENT and int(spent[1]) & (int(spent[1]) - 1):
            return
        began = time.perf_counter()
        own, shared = frame.f_locals, frame.f_globals
        self._time += 1
        self._at = frame.f_code.co_name, line, frame.f_code.co_filename
        self._nodes, self._stores = 0, stores
        self._assigned |= {name: self._at for name in stores if name[0] in ".["}
        for name in sorted(names):
            value = own[name] if name in own else shared.get(name)
            kind = type(value)
            if kind is float or kind is int or isinstance(value, np.floating):
                if name in stores or ("", name) not in self._values:
                    self._values["", name] = float(value)
                    self._number(name, value)
            elif value is not None:
                self._visited = set()
                with suppress(Exception):  # of the user's own classes
                    self._walk(name, value, 0)
        spent[0] += time.perf_counter() - began
        if len(self._spent) > 20_000:
            self._spent.clear()
        if len(self._seen) + len(self._series) + self._numbers / _NUMBERS_EACH >= self._next or (
            self._seen and time.monotonic() - self._sent_at > _EVERY
        ):
            self.send()

    def _walk(self, name: str, value: Any, depth: int) -> None:
        """Look at a value, and at what is in it."""
        if isinstance(value, np.ndarray) and value.dtype != object:
            self._array(name, np.asarray(value))
            return
        if _is_number(value):
            if self._values.get((self._at[0], name)) != value or _end(name) in self._stores:
                self._values[self._at[0], name] = float(value)
                self._number(name, value)
            return
        self._nodes += 1
        if depth > _DEPTH or id(value) in self._visited or self._nodes > _NODES:
            return
        self._visited.add(id(value))
        if hasattr(value, "detach") and hasattr(value, "numpy"):
            value = value.detach().cpu()
            self._array(name, np.asarray(value.numpy()))
        elif isinstance(value, dict):
            for key, item in list(value.items())[:_ITEMS]:
                self._walk(f"{name}[{key!r}]", item, depth + 1)
        elif isinstance(value, list | tuple | np.ndarray):
            self._sequence(name, value, depth)
        elif hasattr(value, "to_numpy"):
            self._array(name, np.asarray(value.to_numpy()))
        elif self._is_users(value):
            for key, item in list(vars(value).items())[:_ITEMS]:
                self._walk(f"{name}.{key}", item, depth + 1)

    def _is_users(self, value: Any) -> bool:
        """Whether a value is an object of a class of the user's."""
        if isinstance(value, type | types.ModuleType | types.FunctionType | types.MethodType):
            return False
        module = sys.modules.get(type(value).__module__)
        path = getattr(module, "__file__", None) or ""
        own = path == self.program.path or self.program.is_beside(path)
        return hasattr(value, "__dict__") and (own or isinstance(value, types.SimpleNamespace))

    def _sequence(self, name: str, value: Any, depth: int) -> None:
        array = _of_numbers(value)
        if array is not None:
            self._array(name, array)
            self._grown(name, id(value), len(value))
        if array is not None or not 0 < len(value) <= _ITEMS:
            return
        known = len(self._contents)
        for i, item in enumerate(value):
            if not isinstance(item, _NUMBERS) and len(self._contents) - known < _ITEMS:
                self._walk(f"{name}[{i}]", item, depth + 1)
        here = self._at
        for key, array in self._gathered(value):
            where, line, file = self._assigned.get(key, here)
            if (where, file) == (here[0], here[2]):
                self._at = where, line, file
            self._array(f"{name}[*]{key}", array)
            self._at = here

    def _grown(self, name: str, which: int, length: int) -> None:
        """Note what a list held before it was made longer: that was a part of something."""
        at = self._at[0], name
        before, content = self._lists.get(at, (0, 0, 0)), self._last.get(at)
        if before[0] == which and before[1] < length:
            self._partial.append(before[2])
        if content is not None:
            self._lists[at] = which, length, content

    def _gathered(self, items: Any) -> Iterator[tuple[str, Array]]:
        """What dicts or objects of one kind hold alike: an array of each key."""
        first = items[0]
        if isinstance(first, dict) and all(isinstance(it, dict) for it in items):
            tables, form = items, "[{!r}]"
        elif self._is_users(first) and all(type(it) is type(first) for it in items):
            tables, form = [vars(it) for it in items], ".{}"
        else:
            return
        for key in tables[0]:
            array = _of_numbers([table.get(key) for table in tables])
            if array is not None:
                yield form.format(key), array

    def _number(self, name: str, value: Any) -> None:
        where, line, file = self._at
        series = self._series.setdefault((where, line, name, file), [])
        if len(series) < (_COUNTS if type(value) is int else _VALUES):
            series.append((self._time, float(value)))
            self._numbers += 1

    def _array(self, name: str, array: Array) -> None:
        """Take in an array, where its content is new for this name."""
        if array.dtype.kind not in "fiub" or not array.size:
            return
        if array.ndim == 0:
            self._walk(name, array.item(), 0)
            return
        key = (array.shape, array.dtype.str, self._fingerprint(array))
        content = self._contents.get(key)
        if content is None:
            content = len(self._contents)
            self._bytes += array.nbytes
            if self._bytes > _MOST:
                self._stop(f"its arrays take more than {_MOST // 2**20} MiB")
            self._contents[key] = content
            self._arrays[str(content)] = np.array(array)
        at = self._at[0], name
        if self._last.get(at) != content:
            self._last[at] = content
            where, line, file = self._at
            self._seen.append((self._time, where, line, name, content, file))

    def _fingerprint(self, array: Array) -> int:
        if array.size > _SAMPLED:
            array = array[tuple(slice(None, None, max(n // 1000, 1)) for n in array.shape)]
        return zlib.crc32(np.ascontiguousarray(array).data.cast("B"))

    def send(self, end: str = "") -> None:
        """Send what is new; go on when the answer says so, else end here."""
        sys.settrace(None)
        numbers = list(self._series)
        text = json.dumps([self._seen, numbers, self._partial, self.told, self.calls, end])
        series = enumerate(self._series.values())
        arrays = {f"series {i}": np.array(pairs, np.float64) for i, pairs in series}
        self.channel.send({"seen": text}, self._arrays | arrays)
        self._seen, self._arrays, self._series, self._partial = [], {}, {}, []
        self._numbers = 0
        answer, _ = self.channel.receive()
        if not answer["on"]:
            _exit(0)
        self._next, self._sent_at = min(self._next * 2, 4000), time.monotonic()
        sys.settrace(self.trace)

    def _stop(self, why: str) -> None:
        self.send(why)
        _exit(0)


def _end(name: str) -> str:
    """.w1 of self.w1, ['w1'] of net['w1']."""
    return name[max(name.rfind("."), name.rfind("[")) :]


def _of_numbers(values: Any) -> Array | None:
    """An array of numbers, or of lists of them; None where these are none."""
    first = values
    while isinstance(first, list | tuple) and len(first):
        first = first[0]
    if _is_number(first):
        with suppress(ValueError, TypeError, OverflowError):
            array = np.array(values)
            if array.dtype.kind in "fiub":
                return array
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


class _Missing(types.ModuleType):
    """What stands in for a module that is not installed: it takes any name, and does nothing."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Missing(f"{self.__name__}.{name}")

    def __getitem__(self, key: object) -> Any:
        return _Missing(self.__name__)

    def __setitem__(self, key: object, value: object) -> None:
        """Keep nothing."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was opened."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else _Missing(self.__name__)


class _Finder:
    """Finds what is imported, is not there, and is not in a `try`."""

    def __init__(self, program: Program, watch: Watch) -> None:
        self.program, self.watch = program, watch

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        frame, tree = sys._getframe(1), None
        while frame and not (tree := self.program.tree_of(frame.f_code.co_filename)):
            frame = frame.f_back  # type: ignore[assignment]
        if not tree or name.partition(".")[0] not in imports_of(tree):
            return None
        if "." not in name:
            self.watch.told.append(
                f"{name} is not installed: something that does nothing stands in for it"
            )
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _Missing(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is in it."""


def run(program: Program, call: str, channel: Channel) -> None:
    """Run a program to its end, and send what it computes.

    Args:
        program: What to run.
        call: What to evaluate after it; empty where nothing.
        channel: Where to.
    """
    watch = Watch(program, channel)
    module = types.ModuleType("__main__")
    module.__file__, names = program.path, module.__dict__
    sys.modules["__main__"] = module
    sys.argv = [program.path]
    sys.path.insert(0, program.folder)
    sys.meta_path.append(_Finder(program, watch))
    asked: list[str] = []

    def nothing(prompt: object = "") -> str:
        if not asked:
            watch.told.append("the program asked for input(): it got an empty line each time")
        asked.append(str(prompt))
        return ""

    builtins.input = nothing
    end = "finished"
    threading.settrace(watch.beside)
    try:
        sys.settrace(watch.trace)
        codes = compile(program.tree, program.path, "exec"), compile(call, "--call", "exec")
        for code in codes[: 2 if call else 1]:
            watch.calls = code is codes[1]
            try:
                exec(code, names)
            except SystemExit as error:
                said = "" if error.code is None else repr(error.code)
                watch.told.append(f"the program ended itself, with sys.exit({said})")
    except Unusable as reason:
        end = str(reason)
    except BaseException as error:
        end = program.located(raised(error, program.path), error)
        if watch.told:
            end += f" ({'; '.join(watch.told)})"
    sys.settrace(None)
    watch.send(end)


def main() -> None:  # pragma: no cover (a process that ends without a word)
    """Run the program that comes over standard input; what it prints goes nowhere."""
    channel = Channel(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    message, given = channel.receive()
    program = Program(message["path"], given["source"].tobytes(), dict(message["constants"]))
    keep_to(dict(message["limits"]))
    run(program, message["call"], channel)
    _exit(0)
