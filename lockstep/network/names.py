"""What arrays, their names and their places in them are called in annotations."""

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Quantities: TypeAlias = "dict[str, NDArray[Any]]"
Sizes: TypeAlias = tuple[int, ...]
Index: TypeAlias = tuple[int, ...]


def element(index: Index) -> str:
    """[2, 1] of an index (2, 1), nothing of ()."""
    return f"[{', '.join(map(str, index))}]" if index else ""
