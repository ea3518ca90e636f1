"""Every link of the built site to itself leads to a file, and where it names a place in it, to that place.

python docs/check_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """The links and the places of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = {""}
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.places.add(value or "")
            elif name in ("href", "src") and tag in ("a", "img", "link", "script"):
                self.links.append(value or "")


def broken_links(site: Path) -> list[str]:
    """One line a link within the site that leads nowhere."""
    pages = {file.resolve(): Page(file) for file in sorted(site.rglob("*.html"))}
    found = []
    for file, page in pages.items():
        for link in page.links:
            address, place = urldefrag(link)
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            target = (file.parent / unquote(urlsplit(address).path)).resolve() if address else file
            if not target.exists():
                found.append(f"{file.relative_to(site.resolve())}: {link} is no file")
            elif target in pages and unquote(place) not in pages[target].places:
                found.append(f"{file.relative_to(site.resolve())}: {link} has no such place")
    return found


if __name__ == "__main__":
    broken = broken_links(Path(sys.argv[1]))
    print("\n".join(broken) or "All links within the site hold.")
    sys.exit(bool(broken))
