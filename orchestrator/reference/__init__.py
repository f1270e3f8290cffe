"""Pages of the documentation that are made of the registries and of measured results.

``make docs`` writes them (``python -m orchestrator.reference``); a test compares what is committed
with what would be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: The pages that are made here.
_MADE = ("methods.md", "experiments.md")


def pages(folder: Path) -> Mapping[str, str]:
    """Return the content of each page, by the name of its file.

    Parameters
    ----------
    folder : Path
        The documentation, to whose other pages they link.
    """
    from orchestrator.reference.experiments_page import experiments_page
    from orchestrator.reference.methods_page import methods_page

    others = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*.md"))
        if path.name not in _MADE
    }
    return {"methods.md": methods_page(), "experiments.md": experiments_page(others=others)}


def write_pages(folder: Path) -> list[Path]:
    """Write the pages into the folder of the documentation, and return where they are."""
    written = []
    for name, content in pages(folder).items():
        path = folder / name
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written
