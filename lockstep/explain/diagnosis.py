"""A diagnosis: which mistake a wrong quantity looks like, in plain data that every view shares."""

from dataclasses import dataclass, field


@dataclass
class Diagnosis:
    """One diagnosis, with the field names of the JSON document.

    Attributes:
        quantity: the table's name, or the input's.
        mistake: one of the names of mistakes.
        says: a sentence for the user.
        remedy: what to do.
        formula: the formula that gives the same numbers.
        explains: the quantities that it accounts for; without any, the quantity alone.
    """

    quantity: str
    mistake: str
    says: str
    remedy: str = ""
    formula: str = ""
    explains: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.explains = self.explains or [self.quantity]
