"""Text from files on a terminal: it cannot move the cursor, set colours or pass for our own."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

#: Control characters, but for tabs and new lines, and those that turn the direction of writing.
_UNWANTED = dict.fromkeys(
    [i for i in range(0xA0) if unicodedata.category(chr(i)) == "Cc" and chr(i) not in "\t\n"]
    + [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)


def printable(text: str) -> str:
    r"""Leave out of a text what a terminal would obey rather than show; lines and tabs stay.

    Examples
    --------
    >>> printable("\x1b[31mred\x1b[0m")
    '[31mred[0m'
    """
    return text.translate(_UNWANTED)


class PlainConsole(Console):
    """A console that shows text as it is: no markup, no emoji, no control characters from data.

    Parameters
    ----------
    **options
        Of :class:`rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, markup=False, emoji=False, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as Rich does; only its own control codes are left."""
        for segment in super().render(renderable, options):
            if segment.control is None and (text := printable(segment.text)) != segment.text:
                segment = Segment(text, segment.style)
            yield segment


def say(console: Console, text: str) -> None:
    """Print a line as it is: brackets are no markup, and long lines are the terminal's to wrap."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
