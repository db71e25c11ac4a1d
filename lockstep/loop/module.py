"""Follow any `nn.Module`: its gradients' bound is measured, and its optimiser's, from PyTorch's."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lockstep.errors import Mismatch, Unusable
from lockstep.explain.diagnosis import Diagnosis
from lockstep.gradients.check import Options, checked
from lockstep.gradients.inputs import given
from lockstep.gradients.measured import SAFETY
from lockstep.gradients.reference import Noise, gradients
from lockstep.gradients.result import GradientMismatch, first_of, labelled
from lockstep.loop.judge import Judge
from lockstep.network.names import Array, Quantities
from lockstep.network.terms import Term, term
from lockstep.run.record import Entry
from lockstep.run.threads import threads
from lockstep.setup.files import nearest
from lockstep.sides.answer import as_numbers, as_shaped
from lockstep.text import counted, grouped

_MEMBERS = 6  # optimisers beside PyTorch's own that get gradients as far off as rounding explains


@dataclass
class ModuleResult:
    """What following a model found; it prints as a few lines.

    Attributes:
        verdict: "match", "mismatch" or "undecided".
        steps_run: How many calls were judged.
        values: How many numbers were compared.
        first_mismatch: The first element that differs, as a dict; None where none does.
        diagnoses: Which mistakes that step looks like, a dict each.
        remarks: Sentences that are not the verdict.
        report: The first mismatch in words.
    """

    verdict: str = "undecided"
    steps_run: int = 0
    values: int = 0
    first_mismatch: dict[str, Any] | None = None
    diagnoses: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    report: str = ""

    def __str__(self) -> str:
        many = f"{counted(self.steps_run, 'step')}, {grouped(self.values)} values"
        lines = [f"{self.verdict}: {many}", self.report]
        return "\n".join([*filter(None, lines), *(f"remark: {it}" for it in self.remarks)])


class ModuleJudge(Judge):
    """Judges a loop by hand beside a model, a loss function and an optimiser.

    Args:
        keep_going: Whether mismatches are collected.
        model: Of which a copy is used.
        loss_function: Of the model's output and y.
        optimizer: Of the model's parameters; None where updates are not judged.
        names: By the user's name a text such as "0.weight.T" or "-grad 0.bias".
    """

    def __init__(
        self,
        keep_going: bool,
        model: nn.Module,
        loss_function: Callable[..., Any],
        optimizer: torch.optim.Optimizer | None,
        names: Mapping[str, str],
    ) -> None:
        super().__init__(keep_going)
        if not isinstance(model, nn.Module):
            raise Unusable(f"follow: expected an nn.Module, got {type(model).__name__}")
        self._result = ModuleResult()
        self._loss = loss_function
        if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
            kind = type(optimizer).__name__
            raise Unusable(f"follow: expected an optimiser of torch.optim, got {kind}")
        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer = None
            self._result.remarks.append("LBFGS calls the loss itself, so updates are not judged")
        if not callable(loss_function):
            got = type(loss_function).__name__
            raise Unusable(f"follow: expected a loss function such as nn.MSELoss(), got {got}")
        self._theirs = optimizer
        self._users, self._model = model, copy.deepcopy(model)
        self._parameters = [name for name, _ in self._model.named_parameters()]
        trained = {id(parameter) for group in self._groups for parameter in group["params"]}
        if not trained <= {id(parameter) for parameter in model.parameters()}:
            raise Unusable("follow: the optimiser has parameters of another model")
        pairs = (copy.deepcopy((model, optimizer)) for _ in range(1 + _MEMBERS) if optimizer)
        self._members = [_Member(own, its) for own, its in pairs]
        known = [*self._parameters, *(f"grad {name}" for name in self._parameters), "x", "y"]
        self._terms = {name: Term((name,)) for name in known}
        self._terms |= {name: _term(name, text, known) for name, text in names.items()}
        # by a name that can be an argument's
        self._words = {f"parameter_{i}_": name for i, name in enumerate(self._parameters)}
        self._ended: dict[str, tuple[Array, Array, Array]] = {}  # its start, end and bound

    @property
    def result(self) -> ModuleResult:
        return self._result

    def _judged(self, arrays: dict[str, Any]) -> Mismatch | None:
        result = self._result
        with threads(1), np.errstate(all="ignore"):
            ours = self._ours(arrays)
            if self._was_off:
                self._lost_sight()
            of_update = self._update_judged(ours)
            result.steps_run += 1
            broken = next((n for n, it in ours.items() if not np.isfinite(it).all()), "")
            if broken:
                said = f"step {result.steps_run}: {broken} is not finite; nothing is known then"
                result.remarks.append(said)
                self._ended = {}
                return of_update
            of_step = self._step_judged(ours)
        found = of_update or of_step
        if found is None and result.verdict == "undecided" and result.values:
            result.verdict = "match"
        if found is not None and result.first_mismatch is None:
            result.verdict, result.report = "mismatch", str(found)
            result.first_mismatch, result.diagnoses = found.first_mismatch, found.diagnoses
        return found

    def _lost_sight(self) -> None:
        """Calls were left out: the update before is not known, nor what a memory is now."""
        self._was_off, self._ended = False, {}
        if any(member.optimizer.state for member in self._members):
            self._members = []
            self._result.remarks.append(
                "calls were left out, so the optimiser's memory is not known; "
                "updates after them are not judged"
            )

    def _as_theirs(self) -> dict[str, nn.Parameter]:
        """The copy's parameters, with the user's modes: training or not, frozen or not."""
        for own, its in zip(self._model.modules(), self._users.modules(), strict=True):
            own.training = its.training
            if own.training and isinstance(own, nn.modules.dropout._DropoutNd) and own.p:
                raise Unusable(
                    "follow: the model draws dropout's masks at random, other ones than yours; "
                    "expected model.eval(), or a module that takes the mask as given"
                )
        return dict(self._users.named_parameters())

    def _ours(self, arrays: dict[str, Any]) -> Quantities:
        """The arrays of a call by the model's names."""
        found: Quantities = {}
        for name, value in arrays.items():
            it = self._terms.get(name)
            if it is None:
                said = f"not judged, as no name of the model's: {name}{nearest(name, self._terms)}"
                if said not in self._result.remarks:
                    self._result.remarks.append(said)
                continue
            array = np.array(as_numbers(value, f"follow: {name}"))
            if it.parts[0] in ("x", "y") and np.asarray(value).dtype.kind in "iu":
                array = array.astype(np.int64)  # labels, or the rows of an embedding
            found[it.parts[0]] = array.T if it.transposed else array
        self._complete(found)
        lr = float(self._settings.get("lr", np.nan))
        numbers = {"N": len(found["x"]), "n_out": np.nan, "lr": lr}
        for it in filter(None, map(self._terms.get, arrays)):
            if (factor := it.factor(numbers)) != 1:
                found[it.parts[0]] = found[it.parts[0]] / factor
        return found

    def _complete(self, found: Quantities) -> None:
        """Add what may be left out. Raises Unusable where something lacks, or has another shape."""
        wanted = self._as_theirs()
        for name, parameter in wanted.items():
            if not parameter.requires_grad:  # a frozen one is as it is in the model
                found.setdefault(name, parameter.detach().numpy())
        missing = [name for name in ("x", "y", *self._parameters) if name not in found]
        if missing:
            raise Unusable(f"follow: expected {', '.join(missing)} as well, in the call")
        for name in self._parameters:
            shape = tuple(wanted[name].shape)
            for one in {name, f"grad {name}"} & found.keys() if len(shape) == 1 else ():
                read = as_shaped(found[one], shape)
                found[one] = found[one] if read is None else read
            if found[name].shape != shape:
                got = f"{name} has shape {found[name].shape}; expected {shape}"
                said = f'names={{"W": "{name}.T"}} says that it is transposed'
                raise Unusable(f"follow: {got}; {said}")

    @property
    def _groups(self) -> list[dict[str, Any]]:
        """The groups of the user's optimiser, whose settings may change on the way."""
        return self._theirs.param_groups if self._theirs else []

    @property
    def _settings(self) -> dict[str, Any]:
        """Those of the optimiser's first group."""
        return self._groups[0] if self._groups else {}

    def _step_judged(self, ours: Quantities) -> Mismatch | None:
        """Judge the gradients of a call, and let PyTorch take the step."""
        words, kinds = self._words, dict(self._users.named_parameters())
        arrays = {
            word: torch.from_numpy(ours[name]).to(kinds[name].dtype).numpy()
            for word, name in words.items()
        }
        x, y = _data(ours, next(iter(kinds.values())).dtype)

        def reference(**tensors: Tensor) -> Any:
            own = {words[word]: tensor for word, tensor in tensors.items()}
            own |= {name: it.clone() for name, it in self._model.named_buffers()}
            return self._loss(functional_call(self._model, own, (x,)), y)

        if self._result.steps_run == 1:
            tensors = {word: torch.from_numpy(array) for word, array in arrays.items()}
            _demand_alike(lambda: reference(**tensors), tuple(y.shape))
        hand = {
            word: ours[f"grad {name}"] for word, name in words.items() if f"grad {name}" in ours
        }
        found = None
        try:
            if hand:
                seen = checked(given(arrays), lambda _: hand, reference, Options(), hand)
                self._result.values += seen.values
        except GradientMismatch as wrong:
            found = self._told(wrong)
        except (ValueError, TypeError) as error:
            raise Unusable(f"follow: {error}") from None
        if self._members:
            trained = [word for word, name in words.items() if kinds[name].requires_grad]
            self._take_step(reference, arrays, trained)
        return found

    def _told(self, wrong: GradientMismatch) -> Mismatch:
        """A mismatch of a gradient, in the model's names."""
        named, number = r"\b(" + "|".join(self._words) + r")\b", self._result.steps_run

        def said(value: Any) -> Any:
            if not isinstance(value, str):
                return value
            return re.sub(named, lambda it: f"grad {self._words[it[0]]}", value)

        first = {key: said(value) for key, value in wrong.first_mismatch.items()}
        found = [{key: said(value) for key, value in it.items()} for it in wrong.diagnoses]
        return Mismatch(f"step {number}, {said(str(wrong))}", first | {"step": number}, found)

    def _take_step(
        self, reference: Callable[..., Any], arrays: Quantities, trained: Iterable[str]
    ) -> None:
        """PyTorch's update, and those of optimisers whose gradients rounding has moved."""
        right = gradients(reference, arrays, trained)
        eps = max(float(np.finfo(array.dtype).eps) for array in arrays.values())
        start = self._named(arrays)
        ends = []
        for draw, member in enumerate(self._members):
            own = right
            if draw:
                moved = gradients(reference, arrays, trained, Noise(draw, eps))
                own = {word: it + SAFETY * (moved.get(word, it) - it) for word, it in right.items()}
            ends.append(member.step(self._groups, start, self._named(own)))
        self._ended = {}
        for name, before in start.items():
            end = ends[0][name]
            spread = np.max([np.abs(it[name] - end) for it in ends], axis=0)
            last_place = SAFETY * eps / 2 * (np.abs(before) + np.abs(end))
            self._ended[name] = before, end, spread + last_place

    def _named(self, arrays: Quantities) -> Quantities:
        """Arrays of parameters in the model's names."""
        return {self._words[word]: array for word, array in arrays.items()}

    def _update_judged(self, ours: Quantities) -> Mismatch | None:
        """Judge the update of the step before by the parameters that this call starts from."""
        for name, (start, end, allowed) in self._ended.items():
            value = ours[name]
            apart = np.abs(value - end)
            self._result.values += value.size
            fits = apart <= allowed
            if fits.all():
                continue
            at = first_of(~fits)
            label, number = labelled(f"new {name}", at), self._result.steps_run
            numbers = [float(it[at]) for it in (value, end, apart, allowed)]
            entry = Entry(number, f"new {name}", list(at), label, *numbers)
            likely = _likely(name, start, value, end, self._settings, number)
            report = [
                f"step {number}, {label} differs",
                f"  yours     {entry.manual!r}",
                f"  PyTorch   {entry.torch!r}",
                f"  apart     {entry.difference:.2g}; rounding explains {entry.allowed:.2g}",
                f"  mistake   {likely.mistake}: {likely.says}",
                f"  remedy    {likely.remedy}",
            ]
            return Mismatch("\n".join(report), asdict(entry), [asdict(likely)])
        return None


class _Member:
    """A copy of the model and of its optimiser."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.parameters, self.optimizer = dict(model.named_parameters()), optimizer

    def step(
        self, groups: list[dict[str, Any]], start: Quantities, gradients: Quantities
    ) -> Quantities:
        """The parameters after a step with the settings of the user's optimiser."""
        for own, group in zip(self.optimizer.param_groups, groups, strict=True):
            own |= {key: copy.copy(value) for key, value in group.items() if key != "params"}
        with torch.no_grad():
            for name, array in start.items():
                parameter = self.parameters[name]
                parameter.copy_(torch.from_numpy(array))
                parameter.grad = None
                if name in gradients:
                    parameter.grad = torch.from_numpy(gradients[name]).to(parameter.dtype)
        self.optimizer.step()
        return {name: self.parameters[name].detach().numpy().copy() for name in start}


def _likely(
    name: str, start: Array, value: Array, end: Array, settings: Mapping[str, Any], number: int
) -> Diagnosis:
    """The mistake that an update looks like. settings: the optimiser's; number: of the step."""
    taken, right = value - start, end - start
    largest = float(np.abs(right).max(initial=0.0))

    def is_it(factor: float, roughly: float = 1e-6) -> bool:
        return bool((np.abs(taken - factor * right) <= roughly * abs(factor) * largest).all())

    new, ratio = f"new {name}", float((taken * right).sum() / max((right * right).sum(), 1e-300))
    if not taken.any():
        return Diagnosis(new, "not-updated", f"{name} is what it was", "update it in every step")
    if is_it(-1.0):
        return Diagnosis(new, "update-sign", "the update has the other sign", "turn it round")
    mean, square = (1 - beta**number for beta in settings.get("betas", (0.0, 0.0)))
    root = square**0.5
    for factor, which in ((mean, "mean"), (1 / root, "square"), (mean / root, "memory")):
        if factor != 1 and is_it(factor, 1e-3):  # ε weighs otherwise then
            says = f"the optimiser's {which} is used without its correction 1 − βᵗ"
            return Diagnosis(new, "bias-correction", says, "divide by 1 − βᵗ, t the step's number")
    says = f"the update is {ratio:.6g} times PyTorch's"
    remedy = "compare the optimiser's formula with PyTorch's, setting by setting"
    if not is_it(ratio):
        says = "the gradients before it are right where they were judged; the update differs"
    elif not {"betas", "alpha", "rho"} & settings.keys() and not settings.get("momentum"):
        remedy = "look for the learning rate: is it there once?"
        return Diagnosis(new, "learning-rate", says, remedy)
    return Diagnosis(new, "unknown", says, remedy)


def _data(ours: Quantities, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """x and y as the model takes them: floats in its own precision, labels as they are."""
    x, y = (torch.from_numpy(np.ascontiguousarray(ours[name])) for name in "xy")
    return (x.to(kind) if x.is_floating_point() else x, y.to(kind) if y.is_floating_point() else y)


def _demand_alike(loss: Callable[[], Any], shape: tuple[int, ...]) -> None:
    """Raise Unusable where the loss would broadcast the targets, of which PyTorch only warns."""
    with warnings.catch_warnings(record=True) as told, suppress(Exception):  # it is told later
        warnings.simplefilter("always")
        loss()
    if any("Using a target size" in str(it.message) for it in told):
        raise Unusable(
            f"follow: y has shape {shape}, and the model's output another one, so that the loss "
            "would broadcast the two; expected the same shape, such as y[:, None]"
        )


def _term(name: str, text: str, known: list[str]) -> Term:
    """What a text says in the model's names, which may have dots and spaces in them."""
    words = {f"known_{i}_": it for i, it in enumerate(known)}
    for word, it in sorted(words.items(), key=lambda pair: -len(pair[1])):
        text = re.sub(rf"(?<![\w.]){re.escape(it)}(?!\w|\.\w\w)", word, str(text))
    try:
        found = term(text)
    except Unusable:
        found = None
    if found is None or len(found.parts) != 1 or found.parts[0] not in words:
        expected = f'such as "{known[0]}.T" or "-grad {known[0]}"'
        raise Unusable(f"follow: names: {name}: expected {expected}, of {', '.join(known)}")
    return replace(found, parts=(words[found.parts[0]],))
