"""Operations that were run, with their values: how to run them again, and what they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_NAMES = {  # of the operations that are written with a sign
    "*": "mul rmul",
    "/": "div truediv rtruediv",
    "+": "add radd",
    "-": "sub rsub",
    "**": "pow",
    "@": "matmul mm bmm mv dot",
    ".T": "permute t transpose get",
}
_SIGNS = {name: sign for sign, names in _NAMES.items() for name in names.split()}
_VIEWS = frozenset(
    """
    alias clone detach expand permute reshape select slice squeeze t transpose unsafe_view unsqueeze
    view
    """.split()
)


@dataclass(eq=False)
class Node:
    """An operation that was run, or a tensor that was given.

    Attributes:
        index: Its place in the list.
        name: Of the operation, such as "mm"; "" for what was given.
        run: The operation; None for what was given.
        args: What it was given; other operations stand for their results.
        options: The same, by keyword.
        value: Its result.
        tracked: Whether gradients go back through it.
        draws: Whether it draws random numbers, which then stay as they are.
        input: The name of the input that it is.
        line: Where the reference asks for it: "in FILE, line N (CODE)".
        call: The call that it is a part of, in words, and a number of its own.
        of: The forward operation whose derivative it is a part of.
        users: The operations that use its result.
    """

    index: int
    name: str
    run: Callable[..., Any] | None
    args: list[Any]
    options: dict[str, Any]
    value: Any
    tracked: bool = True
    draws: bool = False
    input: str = ""
    line: str = ""
    call: tuple[str, int] | None = None
    of: Node | None = None
    users: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The operations that it uses."""
        self.inputs = list(_nodes_in(self.args))


def _nodes_in(it: Any) -> Iterator[Node]:
    if isinstance(it, Node):
        yield it
    elif isinstance(it, list | tuple):
        for part in it:
            yield from _nodes_in(part)


Edit = Callable[..., Any]  # from the arguments of an operation to what stands in its result's place
Edits = dict[Node, Edit]


def mapped(function: Callable[[Any], Any], it: Any) -> Any:
    """What is inside lists and tuples, each through a function."""
    if isinstance(it, list | tuple):
        return [mapped(function, part) for part in it]
    return function(it)


def rerun(node: Node, values: dict[Node, Any], edit: Edit | None = None) -> Any:
    """Its result where others have other values, or what an edit makes of its arguments."""

    def value(it: Any) -> Any:
        return values.get(it, it.value) if isinstance(it, Node) else it

    args = [mapped(value, it) if isinstance(it, list) else value(it) for it in node.args]
    return edit(*args) if edit else unedited(node, *args)


def unedited(node: Node, *args: Any) -> Any:
    """What an operation makes of its arguments."""
    assert node.run
    return node.run(*args, **node.options)


# Words


def place(node: Node) -> str:
    """An operation in words: which, and in which line of the reference."""
    name = sign(node.name)
    if name in _NAMES and name != ".T" and len(node.args) >= 2:
        sides = [
            f"{a:g}" if isinstance(a, int | float) else source(a) or "…" for a in node.args[:2]
        ]
        if node.name == "rsub":  # 1 - x, of x and 1
            sides.reverse()
        name = f" {name} ".join(sides)
    return f"`{name}` {node.line}".strip()


def source(node: Any) -> str:
    """The name of the input that a node is, or is only a view of; "" for what is computed."""
    while isinstance(node, Node) and node.name in _VIEWS and node.run:
        node = node.args[0]
    return node.input if isinstance(node, Node) else ""


def described(node: Node) -> str:
    """A value in words: the name of an input, or the result of which operation."""
    return source(node) or (f"the result of {place(node)}" if node.name else "a constant")


def sign(name: str) -> str:
    """The sign that an operation is written with, or else its name."""
    return _SIGNS.get(name, name)
