"""What every side by hand is: it says where a step starts, and answers with names."""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lockstep.network.conventions import PLAIN, Conventions
from lockstep.network.names import Array, Index, Quantities
from lockstep.network.problem import Problem, Start, State
from lockstep.sides.answer import Answer
from lockstep.sides.code import Source
from lockstep.sides.written import Written


@dataclass
class Claim:
    """A parameter of which a recording says twice what it is, once differently.

    Attributes:
        name: The parameter.
        given: What the step says that it starts from.
        ended: What the step before says that it ended with.
        differs: The elements of which both are said, and differ.
    """

    name: str
    given: Array
    ended: Array
    differs: Array


@dataclass
class Origin:
    """Where a recorded step's numbers come from, for whoever explains them.

    Attributes:
        unsaid: Parameters that the step does not give in full, though another step came before.
    """

    unsaid: tuple[str, ...] = ()


@dataclass
class Turn:
    """The beginning of a training step: its number, and what it starts from."""

    number: int
    start: Start
    claims: list[Claim] = field(default_factory=list)
    origin: Origin | None = None


class Side(ABC):
    """A side by hand: the project's own, a function, numbers on paper, or a recording.

    Attributes:
        label: What reports call it.
        noun: What a sentence calls it.
        kind: What it is, in the JSON document.
        file: The name of the file that it was read from, without folders; empty where none.
        is_users: Whether it is the user's, and so gets remarks on what it left out.
        trains_alone: Whether it may be called more than once a step, and so trains on its own
            weights beside the strict check.
        by_its_own_weights: Whether its steps start from its own parameters; PyTorch then trains
            beside it, from the first step on.
        others: Whether it can be tried on other problems.
        prints_here: Whether what it prints comes from this process.
        asks_for_scalars: Whether it is written for the lecture's scalars, and so for one shape.
        conventions: How its arrays are laid out and named.
        is_open: Whether that may still be found.
        written: The numbers by step, where all of them are known beforehand.
    """

    label = "yours"
    noun = "the run by hand"
    kind = ""
    file = ""
    asks_for_scalars = False
    conventions: Conventions = PLAIN
    is_open = False
    is_users = True
    trains_alone = False
    by_its_own_weights = False
    others = False
    prints_here = True
    written: dict[int, Written] | None = None

    @property
    def title(self) -> str:
        """What a heading calls it: its file where it has one."""
        return self.file or self.label

    def prepare(self, problem: Problem) -> None:  # noqa: B027 (most need nothing)
        """Get ready for a run. Raises Unusable where the side does not fit the problem."""

    def turn(self, number: int, problem: Problem, state: State) -> Turn | None:
        """Where the next step starts.

        Args:
            number: How many steps came before, and one.
            problem: What is trained.
            state: PyTorch's current parameters, and its optimiser's memory.

        Returns:
            None where there is no further step.
        """
        if number > problem.steps:
            return None
        return Turn(number, problem.start(number, state))

    @abstractmethod
    def answer(self, turn: Turn, problem: Problem, torch: Quantities) -> Answer:
        """What this step gives by hand. A formula may ask for torch, PyTorch's quantities."""

    def sources(self, step: int) -> list[Source]:
        """What of its program is shown beside PyTorch's, at a step; nothing where there is none."""
        return []

    def line_of(self, name: str, step: int, index: Index) -> str:
        """Where its program computes an element, as a report says it; empty where unknown."""
        return ""

    def called(self, name: str, step: int, index: Index) -> str:
        """The variable of its program that holds an element alone; empty where none does."""
        return ""

    @property
    def recognised(self) -> list[dict[str, Any]] | None:
        """What was recognised of its program, as in the JSON document; None where nothing was."""
        return None

    def under(self, conventions: Conventions) -> "Side":
        """The same afresh, with other conventions, where these are open."""
        raise NotImplementedError

    def adopt(self, conventions: Conventions) -> None:
        """Go on, from the beginning, with conventions that were found or stay as they are."""
        raise NotImplementedError

    def again(self) -> "Side":
        """The side for another problem, without what it kept between calls."""
        return self

    def close(self) -> None:  # noqa: B027
        """Let go of what it holds, such as a process."""

    def remarks(self, problem: Problem) -> list[str]:
        """What a report adds about this side."""
        return []


@contextlib.contextmanager
def afresh(side: Side) -> Iterator[Side]:
    """The side `again`, to be closed at the end; what it prints has been printed once."""
    with contextlib.ExitStack() as opened:
        if side.prints_here:
            nowhere = opened.enter_context(open(os.devnull, "w", encoding="utf-8"))
            opened.enter_context(contextlib.redirect_stderr(nowhere))
        yield opened.enter_context(contextlib.closing(side.again()))
