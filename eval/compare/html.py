"""A report as one HTML file that loads nothing: no script, no address; a browser holds it to that by its policy.

Whatever is put in is text that others may have written: made visible, then escaped, by the template engine itself.
"""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eval.compare.document import Document, Plot
from eval.visible_text import visible

TEMPLATES = Path(__file__).parent / "templates"


def render_html(document: Document) -> str:
    """The whole file."""
    style = (TEMPLATES / "report.css").read_text("utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "kind": lambda block: type(block).__name__}
    template = environment.get_template("report.html.jinja")
    return template.render(document=document, style=Markup(style), policy=Markup(_policy(style)))


def _shown(value: object) -> object:
    """What an expression of the template becomes: texts are made visible, what this module made is left as it is."""
    return value if isinstance(value, Markup) else visible(str(value))


def _policy(style: str) -> str:
    """Content-Security-Policy: this style alone, and pictures that stand in the file."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _data_uri(plot: Plot) -> Markup:
    return Markup("data:image/png;base64," + base64.b64encode(plot.png).decode())
