"""How a program of the user's lays out and names its arrays, and what they are of ours.

Ours are batch-first, with weights as in `nn.Linear`. A convention is never a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lockstep.errors import Unusable
from lockstep.network.names import Array, Quantities
from lockstep.network.network import PER_SAMPLE, Network
from lockstep.network.terms import LAYOUTS, Term, terms


@dataclass(frozen=True)
class Conventions:
    """How the user's arrays are laid out and named.

    Attributes:
        layout: A name of `LAYOUTS`; "" where nothing is said, which means linear.
        returned: The layout of what is returned, where that is another one; else "".
        biases: Where biases lie in the weights: "first", "last", or "" where they lie alone.
        ones: Whether x has a column of ones beside it, as biases in the weights need.
        names: By the user's name what it is.
        scales: By the user's name a factor that was found.
    """

    layout: str = ""
    returned: str = ""
    biases: str = ""
    ones: bool = False
    names: Mapping[str, Term] = field(default_factory=dict)
    scales: Mapping[str, Term] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether all is as in the tables of names."""
        return self == PLAIN

    def meant(self, network: Network, names: Iterable[str]) -> dict[str, str]:
        """By the user's name, of those that `names` explains, which quantity it is of.

        Raises:
            Unusable: The network has none of that name.
        """
        return {name: self._own(network, self.names[name]) for name in names if name in self.names}

    def _own(self, network: Network, it: Term) -> str:
        """The quantity that a term is of: of two the weights, or what stands beside ones."""
        known = (*network.given, *network.judged, "lr")
        parts = [network.quantity(part, known) for part in it.parts if part != "1"]
        for part in parts:
            if part not in known:
                raise Unusable(f"names: {part}: expected one of {', '.join(known)}")
        return next((part for part in parts if not _is_bias(network, part)), parts[0])

    def given(
        self,
        network: Network,
        name: str,
        own: str,
        arrays: Quantities,
        numbers: Mapping[str, float],
    ) -> Array:
        """An array of ours as the user's code has it.

        Args:
            network: What is trained.
            name: The user's name.
            own: The quantity.
            arrays: Ours by name.
            numbers: The values of N, n_out and lr.
        """
        it = self._term(network, name, own)
        array = arrays[own]
        if len(it.parts) == 2:
            ones = np.ones(len(array), array.dtype)
            array = np.column_stack([ones if part == "1" else arrays[part] for part in it.parts])
        factor = it.factor(numbers)
        array = array * array.dtype.type(factor) if factor != 1 else array
        if array.ndim == 1 and _is_bias(network, own) and self.layout.startswith("columns"):
            return array[:, None]
        return array.T if it.transposed else array

    def ours(
        self, network: Network, name: str, own: str, array: Array, numbers: Mapping[str, float]
    ) -> dict[str, Array]:
        """What an array of the user's is of ours, by name.

        Args:
            network: What is trained.
            name: The user's name.
            own: The quantity.
            array: Its value.
            numbers: The values of N, n_out and lr.
        """
        it = self._term(network, name, own, self.returned)
        scale = self.scales.get(name)
        factor = it.factor(numbers) * (scale.factor(numbers) if scale else 1.0)
        array = array / factor if factor != 1 else array
        if array.ndim != 2:
            return {own: array}
        if _is_bias(network, own) and array.shape[1] == 1:
            is_column = (self.returned or self.layout).startswith("columns")
            return {own: array[:, 0] if is_column else array}
        array = array.T if it.transposed else array
        if len(it.parts) == 1:
            return {own: array}
        is_said = name in self.names and len(self.names[name].parts) == 2
        if not is_said and array.shape[1] != network.shape(own, len(array))[-1] + 1:
            return {own: array}
        at = 0 if it.parts[1] == own else -1
        beside = it.parts[at]
        alone = {} if beside == "1" else {beside: array[:, at]}
        return alone | {own: np.delete(array, at, axis=1)}

    def of_given(self, key: str, array: Array) -> dict[str, Array] | None:
        """What an array that a step starts from is of ours; None where a key is of nothing such.

        Raises:
            Unusable: It has a factor other than a number.
        """
        mine = self.names.get(key, Term((key,)))
        network = next((n for n in _ANY if all(p in n or p == "1" for p in mine.parts)), None)
        own = next(iter(self.meant(network, [key]).values()), key) if network else key
        family = network[own].family if network else "loss"
        if network is None or family in _COMPUTED or family.startswith(("grad_", "new_")):
            return None
        if mine.powers:
            raise Unusable(f"names: {key}: expected no factor but a number for what is given")
        return self.ours(network, key, own, array, {})

    def _term(self, network: Network, name: str, own: str, layout: str = "") -> Term:
        """What an array of the user's is, in our names, with all that is said or was found."""
        family = network[own].family if own in network else ""
        said = self.names.get(name, Term((own,)))
        turned = said.transposed or _is_turned(layout or self.layout, family)
        beside = self._beside(network, own) if len(said.parts) == 1 else ""
        parts = said.parts
        if beside:
            is_first = (self.biases or self._said(network, own)) == "first"
            parts = (beside, own) if is_first else (own, beside)
        elif len(parts) == 2:
            first = "1" if "1" in parts else network.of(_bias_of(family), network[own].layer)
            is_first = network.quantity(parts[0], [own]) != own
            parts = (first, own) if is_first else (own, first)
        else:
            parts = (own,)
        return replace(said, parts=parts, transposed=turned)

    def _beside(self, network: Network, own: str) -> str:
        """What lies beside a quantity, where biases lie in the weights: biases, or ones."""
        if own not in network or not (self.biases or self._said(network, own)):
            return ""
        it = network[own]
        if own == "x":
            return "1" if self.ones else ""
        if it.family == "a":
            return "1"
        bias = network.of("b", it.layer)
        is_weights = it.family.endswith("W") and bias in network.parameters
        return network.of(_bias_of(it.family), it.layer) if is_weights else ""

    def _said(self, network: Network, own: str) -> str:
        """Where `names` says that a layer's biases lie in its weights."""
        for it in self.names.values():
            if len(it.parts) == 2 and "1" not in it.parts:
                weights = self._own(network, it)
                if network[weights].layer == network[own].layer:
                    return (
                        "last" if network.quantity(it.parts[0], [weights]) == weights else "first"
                    )
        return ""

    def sentences(self) -> list[str]:
        """What is not as in the tables, in words."""
        said = [LAYOUTS.get(self.layout, "")]
        if self.returned:
            said.append(f"in what is returned, {LAYOUTS[self.returned] or 'samples are rows'}")
        if self.biases:
            column = f"biases are the {self.biases} column of the weights"
            said.append(column + (", and x has a column of ones" if self.ones else ""))
        said += [f"{name} is {scale.words}{scale.parts[0]}" for name, scale in self.scales.items()]
        return [it for it in said if it]


def _is_bias(network: Network, own: str) -> bool:
    return own in network and network[own].family.endswith("b")


def _bias_of(family: str) -> str:
    """grad_b for grad_W."""
    return family.removesuffix("W") + "b"


def _is_turned(layout: str, family: str) -> bool:
    """Whether arrays of a family are the transposes of ours."""
    if family in PER_SAMPLE:
        return layout.startswith("columns")
    return family.endswith("W") and layout.endswith("in_out")


PLAIN = Conventions()


def conventions(values: Mapping[str, Any]) -> Conventions:
    """What checked options say about layout and names."""
    return Conventions(values.get("layout", ""), names=values.get("names", {}))


def as_ours(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a problem file in our names and layout, by its own `layout` and `names`.

    Raises:
        Unusable: A text of `names` that says nothing, or a factor other than a number.
    """
    try:
        said = terms(raw.get("names", {}))
    except Unusable as reason:
        raise Unusable(f"names: {reason}") from None
    it = Conventions(raw.get("layout", ""), names=said or {})
    if it.is_plain or it.layout not in (*LAYOUTS, "") or said is None:
        return dict(raw)
    found: dict[str, Any] = {}
    for key, value in raw.items():
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            array = np.zeros(0)  # which is told where it is checked
        given = it.of_given(key, array)
        if given is None:
            found[key] = value
        elif array.ndim == 2:
            found |= {name: part.tolist() for name, part in given.items()}
        else:
            found[next(iter(given))] = value
    return found


# to read the names of a file whose network is not known yet
_ANY = Network((2,) * 100, ("linear",) * 99), Network((2, 2, 2), ("linear",) * 2)
_COMPUTED = ("z", "a", "delta", "loss", "lr")
