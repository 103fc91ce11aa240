"""How the page looks: the template and its style sheet, filled in. Everything that a stranger wrote is escaped here.

Not here: what is said (says.py), charts (charts.py).
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipelines.errors import printable
from pipelines.page.charts import charts
from pipelines.page.says import Page

LONGEST_TEXT = 500
"""Characters of a stranger's text that are shown."""


def render(page: Page | None) -> str:
    """The whole page; None: nothing was observed yet."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["told"] = told
    drawn = {} if page is None else {name: Markup(svg) for name, svg in charts(page).items()}  # noqa: S704 - our own
    return environment.get_template("page.html").render(page=page, charts=drawn)


def told(text: object) -> Markup:
    """Text from outside: one line, control and direction marks made visible, isolated from the text around it."""
    return Markup("<bdi>{}</bdi>").format(escape(printable(str(text), LONGEST_TEXT)))
