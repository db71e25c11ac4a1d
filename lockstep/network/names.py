"""What arrays, their names and their places in them are called in annotations."""

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Quantities: TypeAlias = "dict[str, NDArray[Any]]"
Sizes: TypeAlias = tuple[int, ...]
Index: TypeAlias = tuple[int, ...]
