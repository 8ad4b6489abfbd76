"""The index of a batch: every film with its picture, what became of it, and the way to its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

from xct_components.report import WARNING
from xct_components.report_page.markup import asset, escaped, notice, page

_ORDER = ("done", "failed", "skipped")


@dataclass(frozen=True)
class IndexRow:
    """One film of a batch.

    Args:
        name: what to call it.
        status: what became of it.
        link: relative to the index, the page or picture that a click opens; None for none.
        picture: relative to the index, its preview; None for none.
        film_error: ||DRR(volume) - film|| / ||film|| of the first film; None where there is no volume.
        message: why it failed or was skipped, or a warning; may be empty.

    Raises:
        ValueError: if a link leads out of the index's folder.
    """

    name: str
    status: Literal["done", "failed", "skipped"]
    link: str | None
    picture: str | None
    film_error: float | None
    message: str

    def __post_init__(self) -> None:
        for name, link in (("link", self.link), ("picture", self.picture)):
            if link is not None and (PurePosixPath(link).is_absolute() or ".." in PurePosixPath(link).parts):
                raise ValueError(f"{name} must be relative to the index and lie beside or below it, got {link!r}")


def write_index(path: Path, rows: Sequence[IndexRow], title: str) -> None:
    """Write the page.

    Args:
        path: where; its pictures and links are found from there.
        rows: in the order shown.
        title: of the batch, any text.
    """
    films = sum(row.status != "skipped" for row in rows)  # a skipped row may stand for many files that are no films
    counts = [(status, sum(row.status == status for row in rows)) for status in _ORDER if status != "skipped"]
    tiles = "".join(f"<div><dt>{status}</dt><dd>{count}</dd></div>" for status, count in counts)
    cards = "".join(_card(row) for row in rows)
    body = (
        f"{notice(WARNING, 'estimated from chest films; research only')}"
        f"<header><h1>{escaped(title)}</h1><p>{films} film{'' if films == 1 else 's'}</p><dl>{tiles}</dl></header>"
        f'<section><ul class="cards">{cards}</ul></section>'
        "<footer>Film error: ||DRR(CT) - film|| / ||film||. Not a medical device. "
        "This page loads its own previews and nothing else.</footer>"
    )
    # A page opened from a folder is of no origin, so that its own pictures are of the scheme file.
    text = page(title, body, style=asset("page.css") + asset("index.css"), pictures="'self' file: data:")
    path.write_text(text, encoding="utf-8")


def _card(row: IndexRow) -> str:
    """One film; the whole card is the link, if there is one."""
    error = "" if row.film_error is None else f'<span class="error">film error {row.film_error:.1%}</span>'
    message = f"<p>{escaped(row.message)}</p>" if row.message else ""
    name = f"<b>{escaped(row.name)}</b>"
    if row.link is not None:
        name = f'<a href="{_relative(row.link)}">{name}</a>'
    picture = ""
    if row.picture is not None:
        picture = f'<div class="thumb"><img src="{_relative(row.picture)}" alt="" loading="lazy"></div>'
    return (
        f'<li class="{row.status}">{picture}<div>{name}'
        f'<p class="state"><span class="pill">{row.status}</span>{error}</p>{message}</div></li>'
    )


def _relative(link: str) -> str:
    """A relative address: the dot keeps a colon in a file's name from being read as a scheme."""
    return escaped("./" + quote(link))
