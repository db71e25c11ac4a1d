"""A diagnosis: which mistake a wrong quantity looks like, in plain data that every view shares."""

from dataclasses import dataclass, field


@dataclass
class Diagnosis:
    """One diagnosis, with the field names of the JSON document.

    Attributes:
        quantity: The quantity that is wrong, by its name in matrices, or the input's name.
        mistake: The name of the mistake.
        says: One sentence that says what was done.
        remedy: What to do; empty where nothing is known.
        formula: The formula that gives the same numbers; empty where none does.
        explains: The quantities that it accounts for.
        together: Whether it and the one before it are needed both, and not one of the two.
    """

    quantity: str
    mistake: str
    says: str
    remedy: str = ""
    formula: str = ""
    explains: list[str] = field(default_factory=list)
    together: bool = False

    def __post_init__(self) -> None:
        self.explains = self.explains or [self.quantity]
