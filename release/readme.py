"""Lets the links of what is published lead to the repository, where their files are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: `[text](where)`, and `![text](where)` of a picture, where that is a file of the repository.
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!#|[a-z]+:)([^)\s]+)\)")


class Readme(MetadataHookInterface):
    """The README as the package index shows it; hatchling runs this when it builds."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field `readme`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository", "")
        text = absolute(text, version=metadata["version"], repository=repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, *, version: str, repository: str) -> str:
    """Let links to files lead to the repository at this version, once there is one."""
    if not repository:
        return text

    def lead(link: re.Match[str]) -> str:
        picture, name, path = link.groups()
        return f"{picture}[{name}]({repository}/{'raw' if picture else 'blob'}/v{version}/{path})"

    return LINK.sub(lead, text)
