"""HTML that can hold any text and asks nobody for anything: what is not ours is escaped, and nothing else may run."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from pathlib import Path

_FOLDER = Path(__file__).parent


def escaped(text: object) -> str:
    """Any text as text, within elements and quoted attributes."""
    return html.escape(str(text), quote=True)


def asset(name: str) -> str:
    """A style sheet or script of this package."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def script_text(text: str) -> str:
    """A script that cannot end its own element; within strings and regular expressions the meaning stays."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def data_block(name: str, kind: str, text: str) -> str:
    """Text that a script of the page reads and that never runs: base64, or JSON."""
    held = text.replace("<", "\\u003c") if kind == "application/json" else text
    return f'<script type="{kind}" id="{name}">{held}</script>'


def page(title: str, body: str, *, style: str, scripts: Sequence[str] = (), pictures: str = "data:", comment: str = "") -> str:
    """A whole page whose policy lets the given styles and scripts work, known by their hashes, and nothing else.

    Args:
        title: any text.
        body: HTML.
        style: style sheet.
        scripts: run in this order at the end of the body; texts that cannot end their element (``script_text``).
        pictures: where pictures may come from, in the words of a content security policy.
        comment: said at the top; without two hyphens in a row.
    """
    allowed = " ".join(_hash(script) for script in scripts) or "'none'"
    policy = (
        f"default-src 'none'; img-src {pictures}; style-src {_hash(style)}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    running = "\n".join(f"<script>{script}</script>" for script in scripts)
    said = f"<!--\n{comment.replace('--', '- -')}\n-->\n" if comment else ""
    return (
        f'<!doctype html>\n{said}<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="dark">'
        f"<title>{escaped(title)}</title><style>{style}</style></head>\n<body>\n{body}\n{running}\n</body></html>\n"
    )


def table(rows: Sequence[tuple[object, object]]) -> str:
    """Names and what they are; both any text."""
    lines = "".join(f"<tr><th scope=row>{escaped(name)}</th><td>{escaped(value)}</td></tr>" for name, value in rows)
    return f"<table>{lines}</table>"


def notice(warning: str, meaning: str) -> str:
    """The bar that stays at the top of the window."""
    return f'<div class="notice" role="note"><strong>{escaped(warning)}</strong><span>{escaped(meaning)}</span></div>'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
