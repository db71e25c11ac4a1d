"""Follow a built-in network: its bound is derived, and its mistakes are named, as in `compare`."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lockstep.api import ComparisonResult, explain_run
from lockstep.bound.allowed import tolerance
from lockstep.errors import Mismatch, Unusable
from lockstep.explain.diagnosis import Diagnosis
from lockstep.loop.judge import Judge
from lockstep.network.conventions import Conventions, conventions
from lockstep.network.names import Array, Quantities
from lockstep.network.network import Network
from lockstep.network.problem import UNTOLD, Problem, Start, State
from lockstep.network.terms import LAYOUTS
from lockstep.run.judge import judge
from lockstep.run.record import Record
from lockstep.run.steps import after, by_torch, recorded
from lockstep.run.threads import threads
from lockstep.setup.options import check
from lockstep.setup.problem import make_problem
from lockstep.sides.answer import Answer, as_numbers, as_shaped, sort_out
from lockstep.sides.side import Side, Turn


class Loop(Side):
    """A loop of the user's, as a side by hand: its steps come one at a time."""

    kind = "loop"
    noun = "the loop"
    by_its_own_weights = True

    def __init__(self) -> None:
        self.seen: set[str] = set()  # the quantities that some call gave
        self.knows_lr = False  # whether a learning rate was said, or given by a call
        self.said: tuple[str, ...] = ()  # the variables that `names` says what they are
        self.passed: set[str] = set()  # the variables that some call gave
        self.is_late = False  # whether a call came after the update

    def remarks(self, problem: Problem) -> list[str]:
        """What no call gave."""
        network = problem.network
        missing = [name for name in network.computed if name not in self.seen]
        found = [f"not given, so not judged: {', '.join(missing)}"] if missing else []
        if not any(network.biases):
            found.append("no biases were given: it was judged as a network without them")
        if not self.knows_lr:
            found.append("lr was not given, so no update was judged; expected follow(…, lr=0.1)")
        unused = [name for name in self.said if name not in self.passed]
        if unused:
            found.append(f"names: no call gave {', '.join(unused)}")
        return found

    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        """Not asked: `NetworkJudge` has the arrays."""
        raise NotImplementedError


class NetworkJudge(Judge):
    """Judges a loop that trains a built-in network.

    Args:
        keep_going: Whether mismatches are collected.
        settings: The keys of a problem file.
    """

    def __init__(self, keep_going: bool, settings: dict[str, Any]) -> None:
        super().__init__(keep_going)
        self._values = check(settings, lambda key: f"follow: {key}")
        given = [name for name in ("x", "y", "data", "derivation", "numbers", "steps")
                 if name in self._values]  # fmt: skip
        if given:
            raise Unusable(f"follow: {given[0]}: the loop gives this; expected it in the call")
        if "sizes" not in self._values:
            raise Unusable('follow: expected sizes, such as sizes="784-128-10", or a model')
        self._problem = make_problem(self._values)
        self._side = Loop()
        self._side.conventions = conventions(self._values)
        self._side.knows_lr = "lr" in self._values
        self._side.said = tuple(self._values.get("names", ()))
        self._result: ComparisonResult | None = None
        self._state: State | None = None
        self._turn: Turn | None = None  # the step whose update is still to be judged
        self._torch: Quantities = {}
        self._answer = Answer()
        self._number = 0
        self._knows_memory = True

    @property
    def result(self) -> ComparisonResult:
        """What was found so far, as of `lockstep.compare`."""
        if self._result is None:
            self._result = self._new_result()
        if self._turn is None:
            self._result.finish()
            self._explain()
            return self._result
        asked = copy.copy(self)  # the step goes on: its update is judged when it is known
        asked._result, asked._answer = copy.deepcopy(self._result), copy.copy(self._answer)
        asked._end({})
        return asked.result

    def _explain(self) -> None:
        assert self._result is not None
        self._result.remarks = []
        explain_run(self._result)
        if self._side.is_late:
            assert self._result.first
            says = "the gradients are those of the parameters before the update"
            name, remedy = self._result.first.quantity, "call the judge before the update"
            self._result.found, self._result.notes = [Diagnosis(name, "unknown", says, remedy)], []
        self._result.fits = as_keywords(self._result.fits)
        self._result.remarks = list(map(as_keywords, self._result.remarks))
        self._result.found = [
            replace(it, remedy=as_keywords(it.remedy)) for it in self._result.found
        ]

    def _new_result(self) -> ComparisonResult:
        return ComparisonResult(self._problem, self._side, shows="none")

    def _judged(self, arrays: dict[str, Any]) -> Mismatch | None:
        with threads(), np.errstate(all="ignore"):
            given, computed = self._sorted(arrays)
            if self._was_off:  # what happened between is not known, nor what a memory is now
                self._was_off, self._knows_memory = False, False
                of_update = self._end({})
            else:
                of_update = self._end(given)
            of_step = self._begin(given, computed)
            return of_update or of_step

    def _sorted(self, arrays: dict[str, Any]) -> tuple[Quantities, Quantities]:
        """What a step starts from, in our names and layout, and what it computed, in the user's."""
        self._side.passed |= arrays.keys()
        values = {name: np.array(as_numbers(it, f"follow: {name}")) for name, it in arrays.items()}
        if self._result is None:
            self._settle(values)
        given, computed = self._as_given(values, self._side.conventions)
        _demand(given, self._network)
        return given, computed

    @property
    def _network(self) -> Network:
        return self._problem.network

    def _settle(self, values: Quantities) -> None:
        """Find the layout, whether there are biases, labels, and the precision: the first call."""
        said = self._side.conventions
        layouts = [] if said.layout else [name for name in LAYOUTS if name != "linear"]
        ways = []
        for own in (said, *(replace(said, layout=layout) for layout in layouts)):
            given, computed = self._as_given(values, own)
            ways.append((own, given, computed, self._like(given)))
        fits = [way for way in ways if not _misfits(way[-1].network, way[1])]
        own, given, _, problem = max(fits or ways[:1], key=lambda way: self._right(*way))
        self._side.conventions = own
        _demand(given, problem.network)
        start = self._start(given, None, problem)
        self._problem = replace(problem, x=start.x, y=start.y, parameters=start.parameters)
        self._result = self._new_result()

    def _like(self, given: Quantities) -> Problem:
        """The problem of the settings, with the biases, labels and precision of what is given."""
        network, values = self._problem.network, self._values
        parameters = [given[name] for name in network.parameters if name in given]
        single = bool(parameters) and all(it.dtype == np.float32 for it in parameters)
        dtype = values.get("dtype", "float32" if single else "float64")
        biases = tuple(network.of("b", l) in given for l in network.layers)
        if {"biases", "no_biases"} & values.keys():
            biases = network.biases
        labels = "y" in given and given["y"].ndim == 1 and network.loss.startswith("cross_entropy")
        network = replace(network, biases=biases, labels=labels)
        return replace(self._problem, network=network, dtype=dtype, steps=UNTOLD)

    def _right(
        self, own: Conventions, given: Quantities, computed: Quantities, problem: Problem
    ) -> int:
        """How many computed quantities are right under conventions: square weights fit several."""
        try:
            start = self._start(given, None, problem)
            torch = by_torch(problem, start)
            answer = sort_out(computed, problem, start, torch, "", given, own, strict=False)
        except (Unusable, KeyError):
            return -1
        return sum(np.allclose(value, torch[name], 1e-4) for name, value in answer.values.items())

    def _as_given(self, values: Quantities, own: Conventions) -> tuple[Quantities, Quantities]:
        """The arrays that a step starts from, as ours, and the others."""
        network = self._network
        known = {*network.given, "lr", "step"}
        meant = network.meant(values, 2, (*known, *network.judged), values)
        of = {name: it for name, (it, _) in meant.items()} | own.meant(network, values)
        given: Quantities = {}
        computed: Quantities = {}
        for name, array in values.items():
            if of.get(name) in ("lr", "step"):
                given[of[name]] = array
            elif of.get(name) in known:
                given |= own.ours(network, name, of[name], array, {})
            else:
                computed[name] = array
        return given, computed

    def _start(self, given: Quantities, state: State | None, problem: Problem) -> Start:
        """What a step starts from: the optimiser's memory is PyTorch's where it is not given."""
        network = problem.network
        misfits = _misfits(network, given)
        if misfits:
            raise Unusable(f"follow: {misfits[0]}")
        cast = {name: it.astype(problem.dtype) for name, it in given.items()}
        y = _labels(given["y"], network.sizes[-1]) if network.labels else cast["y"]
        samples = len(cast["x"])
        if not samples:
            raise Unusable("follow: x is empty; expected a row a sample")
        memory = dict((state and state.memory) or {})
        memory |= {name: cast[name] for name in network.memory if name in cast}
        is_whole = len(memory) == len(network.memory) > 0
        parameters = {
            name: cast[name].reshape(network.shape(name, 1)) for name in network.parameters
        }
        masks = {name: cast[name] for name in network.masked if name in cast}
        return Start(
            parameters,
            cast["x"],
            y.reshape(network.shape("y", samples)),
            float(given.get("lr", problem.lr)),
            memory if is_whole else None,
            masks,
            int(given.get("step", self._number + 1)),
        )

    def _begin(self, given: Quantities, computed: Mapping[str, Any]) -> Mismatch | None:
        """Judge what a step computed before its update."""
        start = self._start(given, self._state, self._problem)
        self._knows_memory |= set(self._network.memory) <= given.keys()
        self._side.knows_lr |= "lr" in given
        self._number += 1
        self._turn = Turn(self._number, start)
        self._torch = by_torch(self._problem, start)
        self._state = after(self._network, self._torch)
        self._answer = sort_out(
            computed, self._problem, start, self._torch, "follow: got", given,
            self._side.conventions, strict=False,
        ) if computed else Answer()  # fmt: skip
        if self._keeps_going:
            return None  # it is judged with its update
        record = self._record()
        return self._end({}) if judge(record, self._is_fixed).verdict == "mismatch" else None

    def _is_right_before(self, record: Record) -> bool:
        """Whether a step's gradients are those of the parameters that it was an update of."""
        start, network = record.start, self._network
        values = {n: it for n, it in self._answer.values.items() if n[:4] != "new_"}
        if network.memory or any(f"grad_{name}" not in values for name in network.parameters):
            return False
        before = {n: p + start.lr * values[f"grad_{n}"] for n, p in start.parameters.items()}
        torch = by_torch(self._problem, replace(start, parameters=before))
        return all(np.allclose(value, torch[n], 1e-4, 1e-8) for n, value in values.items())

    def _record(self) -> Record:
        assert self._turn is not None
        limits = tolerance(self._problem, self._values)
        return recorded(self._problem, limits, self._turn, self._torch, self._answer)

    @property
    def _is_fixed(self) -> bool:
        return "rtol" in self._values or "atol" in self._values

    def _end(self, given: Quantities) -> Mismatch | None:
        """Judge the step before with its update, the parameters that this one starts from."""
        if self._turn is None or self._result is None:
            return None
        for name in self._network.update if self._knows_memory and self._side.knows_lr else ():
            own = name.removeprefix("new_")
            if own in given and name not in self._answer.values:
                self._answer.values[name] = given[own].reshape(self._torch[name].shape)
        values = self._answer.values
        self._answer.values = {
            name: values[name] for name in self._network.judged if name in values
        }
        self._side.seen |= values.keys() | self._answer.misshapen.keys()
        record, self._turn = self._record(), None
        result = self._result
        differed = result.first is not None
        result.add(record)
        if result.first is None or differed:
            return None
        self._side.is_late = self._is_right_before(record)
        self._explain()
        first = result.first_mismatch
        assert first is not None
        return Mismatch(str(result), first, result.diagnoses)


def as_keywords(text: str) -> str:
    """A text whose options, such as --output-activation tanh, are arguments of `follow`."""

    def keyword(option: re.Match[str]) -> str:
        name, value = option[1].replace("-", "_"), option[2]
        return f"{name}={value if re.match(r'[0-9.]', value) else repr(value)}"

    return re.sub(r"--([a-z][\w-]*) ([\w.:]+)", keyword, text)


def _demand(given: Quantities, network: Network) -> None:
    """Raise Unusable where a call lacks what its step starts from."""
    wanted = [*network.parameters, "x", "y"]
    missing = [network[name].numbered for name in wanted if name not in given]
    if missing:
        raise Unusable(f"follow: expected {', '.join(missing)} as well, in the call")


def _labels(y: Array, classes: int) -> Array:
    """Labels as whole numbers. Raises Unusable where one is none of the classes."""
    labels = y.astype(np.int64)
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise Unusable(f"follow: y: expected labels from 0 to {classes - 1}, got {wrong[0]}")
    return labels


def _misfits(network: Network, given: Quantities) -> list[str]:
    """What is given in another shape than the network's, in words."""
    samples = len(given["x"]) if "x" in given and given["x"].ndim else 1
    found = []
    for name, array in given.items():
        shape = network.shape(name, samples)
        if name not in ("lr", "step") and as_shaped(array, shape) is None:
            found.append(f"{name} has shape {array.shape}; expected {shape}")
    return found
