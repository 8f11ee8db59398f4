"""The shape of the file: the type of each place, as far as reading needs it."""

from dataclasses import dataclass, field
from typing import Literal

Container = Literal["section", "mapping", "list"]


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of one value of the file, as far as reading needs it."""

    text: bool = False  # keep the characters, even if they look like a number
    secret: bool = False
    unset_disables: bool = False  # an unset variable is not an error here
    optional: bool = False  # null is a valid value
    container: Container | None = None
    fields: dict[str, "Shape"] = field(default_factory=dict)  # of a section
    item: "Shape | None" = None  # of the values in a mapping or a list

    def under(self, key: str | int) -> "Shape":
        """The shape of an inner value."""
        return self.fields.get(key, ANYTHING) if isinstance(key, str) and self.fields else self.item or ANYTHING


ANYTHING = Shape(optional=True)
