"""A document of sections, written as one HTML file and as Markdown with pictures beside it."""

import base64
import html
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2
from etils import epath
from markupsafe import Markup, escape

from scam_jax import files

_MARKDOWN_SPECIAL = re.compile(r"[\\`*|\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


class Cell(NamedTuple):
    """A cell of a table or its head.

    Attributes:
      text: a number or words.
      rest: less prominent text that follows, such as a deviation.
      style: '', 'best' (bold), 'code', 'number' (head of a column of numbers), or 'reference'
        (first cell of a row that is no model).
      detail: tooltip in HTML.
    """

    text: str
    rest: str = ""
    style: str = ""
    detail: str = ""


class Table(NamedTuple):
    """A table; a folded one shows only its title at first."""

    title: str
    head: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    is_folded: bool = False


class Note(NamedTuple):
    """A list item: text with `code` in backticks, runs it concerns, and commands that help."""

    text: str
    title: str = ""
    names: str = ""
    commands: Sequence[str] = ()


class Picture(NamedTuple):
    """A PNG file; a small one is enlarged without smoothing in HTML."""

    file: str
    png: bytes
    alt: str
    caption: str = ""
    is_small: bool = False


class Gallery(NamedTuple):
    """Pictures side by side, below a text that explains them."""

    title: str
    about: str
    pictures: Sequence[Picture]
    is_folded: bool = False


class Section(NamedTuple):
    """A section; its parts are shown in the order of the attributes."""

    title: str
    about: str = ""
    tables: Sequence[Table] = ()
    notes: Sequence[Note] = ()
    galleries: Sequence[Gallery] = ()


def file_name(*parts: object) -> str:
    """Joins parts to the name of a PNG file, with '-' for special characters."""
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(map(str, parts))) + ".png"


def write(
    folder: epath.Path,
    title: str,
    facts: Mapping[str, Mapping[str, str]],
    sections: Sequence[Section],
) -> epath.Path:
    """Writes report.html, report.md and pictures/; returns the path of report.html.

    `facts` has, by name, each value with the runs that share it.
    """
    for gallery in (gallery for section in sections for gallery in section.galleries):
        for picture in gallery.pictures:
            files.write(folder / "pictures" / picture.file, picture.png)
    formats = {
        "report.md": (_markdown_text, _markdown_code),
        "report.html": (escape, Markup("<code>{}</code>").format),
    }
    for name, (plain, code) in formats.items():
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
            autoescape=True,
            finalize=plain,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"code": code, "base64": _base64}
        template = environment.get_template(f"{name}.jinja")
        text = template.render(title=title, facts=facts, sections=sections)
        files.write(folder / name, text)
    return folder / "report.html"


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode()


def _markdown_text(value: object) -> Markup:
    """Escapes text such that Markdown shows it literally, on one line."""
    if isinstance(value, Markup):
        return value
    text = re.sub(r"\s+", " ", html.escape(str(value), quote=False))
    return Markup(_MARKDOWN_SPECIAL.sub(r"\\\g<0>", text))


def _markdown_code(text: str) -> Markup:
    """Marks text as code, whatever it contains, also in table cells."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return Markup(f"{fence}{space}{text}{space}{fence}".replace("|", r"\|").replace("\n", " "))
