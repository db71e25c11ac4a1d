"""Which variable is which quantity of a training step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from lockstep.look.chain import close
from lockstep.look.reading import Batch, Reader, delta_factors
from lockstep.look.recognised import Recognised
from lockstep.look.roles import Roles
from lockstep.look.seen import Found, Sighting
from lockstep.network.names import Array, Quantities

_ROUNDED = 1000  # roundings of a parameter that are no difference
_SAME = 1e-6  # relative: to which a quantity whose variable is said counts as recognised


class Mapper:
    """Finds what a training step's variables hold.

    Args:
        found: The program.
        reader: What found it.
        batch: The step.
        right: The quantities as they should be, by numbered name.
    """

    def __init__(self, found: Recognised, reader: Reader, batch: Batch, right: Quantities) -> None:
        self.found, self.reader, self.batch, self.right = found, reader, batch, right
        self.settings, self.parameters = found.reading.settings, batch.step.parameters
        self.own: dict[str, Found] = {}

    def mapped(self) -> dict[str, Found]:
        """By the network's names what variables hold."""
        own, network = self.own, self.found.network
        for name in self.right:
            is_new = name.startswith("new_") and name[4:] in self.parameters
            it = None if name == "loss" or is_new else self._held(name)
            if it:
                own[name] = it
        for name, new in self.batch.step.new.items():
            names = self.batch.step.names
            at = names.get(name) or names["W" + name[1:]]
            own[f"new_{name}"] = Found(new, at, is_right=self._is_near(name, new))
        self._with_roles()
        self._without_factors()
        self._with_names()
        for name in self.parameters:  # of shared ones PyTorch has another bias for each neuron
            if name in self.reader.model.shared and own[f"new_{name}"].is_right:
                self.found.shared[name] = own.pop(f"new_{name}").at
                own.pop(f"grad_{name}", None)
        return {network.name(name): own[name] for name in self.right if name in own}

    def _held(self, name: str) -> Found | None:
        """Where a quantity of the right value was held, in no variable of a parameter."""
        reader, batch, value = self.reader, self.batch, self.right[name]
        has_factor = name.startswith(("delta", "grad_"))
        factors = delta_factors(*batch.shape) if has_factor else (1.0,)
        parameter = name[name.rfind("_") + 1 :]
        if parameter in self.parameters:
            held = reader.find_like(batch, name, self.right, factors)
        else:
            held = reader.find_rows(batch, value, factors)
        gradient = self.own.get(f"grad_{parameter}")  # the optimiser's memory is it at first
        for it in held:
            is_its_own = it.at.key not in reader.model.variables and it.ours.shape == value.shape
            if is_its_own and not (gradient and it.at == gradient.at):
                return it
        return None

    def _is_near(self, name: str, new: Array) -> bool:
        """Whether a parameter became what it should, to the tolerance of recognition."""
        p, right = self.parameters[name], self.right[f"new_{name}"]
        near, eps = (1e-3, 2.0**-24) if p.dtype == np.float32 else (1e-9, 2.0**-53)
        near = 1e-3 if name == "W1" and self.found.x_is_narrow else near
        moved = np.abs(right - p).max(initial=0)
        room = near * moved + _ROUNDED * eps * np.abs(p).max(initial=0)
        return bool((np.abs(new - right) <= room).all())

    def _factors(self, *kinds: str) -> list[float]:
        """Those of the quantities that are found, of some kinds."""
        return [it.factor for name, it in self.own.items() if name.startswith(kinds)]

    # what is not right

    def _with_roles(self) -> None:
        """Add the quantities that are not right, of the layers whose updates are not.

        A factor of one gradient alone, whose update is not right, is no convention. One that most
        gradients have is that of the others too.
        """
        own, found = self.own, self.found
        is_first = self.batch is found.reading.first
        roles = Roles(found.model, self.batch, self.settings, self.right, is_first)
        sign = -1.0 if max(self._factors("delta", "grad_"), default=1.0) < 0 else 1.0
        factors = Counter(self._factors("grad_W", "grad_b"))
        usual = max(factors, key=lambda it: (factors[it], it == sign), default=sign)
        for l in range(found.network.depth, 0, -1):
            parameters = [name for name in (f"W{l}", f"b{l}") if name in self.parameters]
            if all(own[f"new_{name}"].is_right for name in parameters):
                continue
            gradients = {name: self._gradient(name, roles, usual) for name in parameters}
            if f"delta{l}" not in own:
                it = roles.delta(l, gradients.get(f"W{l}"), gradients.get(f"b{l}"), sign)
                if it:
                    own[f"delta{l}"] = it

    def _gradient(self, name: str, roles: Roles, usual: float) -> Array:
        """A parameter's gradient: the one that is held, or what the update says."""
        it = self.own.get(f"grad_{name}")
        if not self.own[f"new_{name}"].is_right:
            if it and it.factor not in (1, usual):
                it = replace(it, ours=it.theirs, factor=1.0, is_right=False)
            made = roles.gradient(name) if it is None or self._goes_on(it.at) else None
            if made:
                it = replace(made, ours=made.ours / usual, factor=usual)
            if it:
                self.own[f"grad_{name}"] = it
        if it:
            return it.ours
        went = self.parameters[name].astype(np.float64) - self.batch.step.new[name]
        return went / (self.settings.lr or 1.0)

    def _goes_on(self, at: Sighting) -> bool:
        """Whether more may be added to a gradient: a function returned it, or it changes."""
        last = self.reader.seen.at(at.key, self.batch.step.until)
        return at.name.endswith("()") or (last is not None and last.content != at.content)

    def _without_factors(self) -> None:
        """Take the factor of a delta for a mistake where it is in the gradient made of it too.

        That is δᵀ a + λ W with the factor in δ alone; a convention divides by it, as any gradient
        that is right tells.
        """
        own, l2 = self.own, self.settings.l2
        gradients = (it for name, it in own.items() if name.startswith(("grad_W", "grad_b")))
        if not l2 or any(it.is_right and abs(it.factor) == 1 for it in gradients):
            return
        for l in range(1, self.found.network.depth + 1):
            delta, gradient = own.get(f"delta{l}"), own.get(f"grad_W{l}")
            a = self.batch.x if l == 1 else self.right[f"a{l - 1}"]
            penalty = l2 * self.parameters[f"W{l}"]
            if (
                delta
                and gradient
                and abs(delta.factor) != 1
                and not gradient.is_right
                and close(gradient.theirs, delta.theirs.T @ a + penalty, _SAME)
            ):
                for name in {f"delta{l}", f"grad_W{l}", f"grad_b{l}"} & own.keys():
                    it = own[name]
                    own[name] = replace(it, ours=it.theirs, factor=1.0, is_right=False)

    # what is said

    def _with_names(self) -> None:
        """Put in the quantities whose variables are said."""
        network, right = self.found.network, self.right
        n, n_out = self.batch.shape
        numbers = {"N": n, "n_out": n_out, "lr": self.settings.lr or 1.0}
        numbered = {network.name(n): n for n in right if n != "loss" and not n.startswith("new_")}
        for key, term in self.reader.given.get("names", {}).items():
            name = numbered.get(network.quantity(term.parts[0], numbered))
            held = self.reader.held_by(self.batch, key, right[name].shape) if name else None
            if name and held:
                factor = term.factor(numbers)
                ours = held.ours / factor
                is_right = close(ours, right[name], _SAME)
                self.own[name] = replace(held, ours=ours, factor=factor, is_right=is_right)
