"""How a page looks beyond its style sheet: the chapter's part above its title, the levels of its sections, and colors.

A heading that ends in ``· *deeper*`` or ``· *engineering*`` shows that word as a badge, and so do the contents.

A reader meets query, key and value in prose, in formulas, in code and in figures, and in each they have the same color:
in formulas Q, K and V; in code and in literals the names that the book uses for them; in prose the words where they are
introduced. The notebooks know nothing of this. It is done here, once, for all pages.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from docutils import nodes
from pygments.formatters import HtmlFormatter
from pygments.token import STANDARD_TYPES, Token
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

#: What a section may be beside *core*, which has no mark.
LEVELS = ("deeper", "engineering")
_BEFORE_LEVEL = " · "

# As whole names. A small k alone may be any number, as in top-k.
_NAMES = {
    "query": r"(?:all_|one_|w_)?quer(?:y|ies)|Q|[wW]_[qQ]|q_proj",
    "key": r"(?:all_|one_|w_)?keys?|K|[wW]_[kK]|k_proj",
    "value": r"(?:all_|one_|w_)?values?|V|[wW]_[vV]|v_proj",
}
_ROLES = {role: getattr(Token.Name, role.capitalize()) for role in _NAMES}
STANDARD_TYPES.update({kind: f"{STANDARD_TYPES[Token.Name]} {role}" for role, kind in _ROLES.items()})  # CSS classes
_SYMBOLS = {"Q": "query", "K": "key", "V": "value"}
# A letter of its own: not within a command or a name in letters, such as \mathcal{V}, which is the vocabulary.
_SYMBOL = re.compile(r"\\(?:mathrm|mathcal|text|operatorname)\{[^}]*\}|\\[A-Za-z]+|([QKV])(?!\()")
_WORD = re.compile(r"(quer(?:y|ies))|(keys?)|(values?)")


def role_of(name: str) -> str | None:
    """Whether a name in code stands for queries, keys or values."""
    return next((role for role, pattern in _NAMES.items() if re.fullmatch(pattern, name)), None)


def color_formulas(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Color Q, K and V in formulas, names of them in literals, and the words where they are introduced."""
    if app.builder.format != "html":
        return
    for node in doctree.findall(lambda n: isinstance(n, nodes.math | nodes.math_block)):
        text = _SYMBOL.sub(
            lambda found: rf"\class{{{_SYMBOLS[found[1]]}}}{{{found[1]}}}" if found[1] else found[0], node.astext()
        )
        node.children = [nodes.Text(text)]
    for node in doctree.findall(nodes.literal):
        role = role_of(node.astext())
        if role:
            node["classes"].append(role)
    for node in doctree.findall(nodes.strong):
        found = _WORD.fullmatch(node.astext())
        if found:
            node["classes"].append(next(role for role, word in zip(_NAMES, found.groups(), strict=True) if word))


class ColoredCode(HtmlFormatter):  # type: ignore[misc]
    """Color the names of queries, keys and values in highlighted code."""

    def format_unencoded(self, tokensource: Iterator[tuple[Any, str]], outfile: Any) -> None:
        super().format_unencoded(colored(tokensource), outfile)


def colored(code: Iterable[tuple[Any, str]]) -> Iterator[tuple[Any, str]]:
    """Tokens of code, in which a name that has a role is told apart."""
    tokens = list(code)
    for number, (kind, text) in enumerate(tokens):
        role = role_of(text) if kind is Token.Name else None
        method = number > 0 and tokens[number - 1][1] == "."  # as in `.values()`
        argument = [after for _, after in tokens[number + 1 : number + 3]] == ["=", "lambda"]  # as sorted's `key=`
        yield (_ROLES[role] if role and not method and not argument else kind), text


def name_part(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the part of the book above the title of a chapter."""
    if app.builder.format != "html" or not docname.startswith("chapters/"):
        return
    root = app.env.get_doctree(app.config.root_doc)
    for tree in root.findall(addnodes.toctree):
        if any(name == docname for _, name in tree["entries"]):
            section = next(doctree.findall(nodes.section))
            title = nodes.paragraph("", f"Part {tree['caption']}", classes=["part-of-book"])
            section.insert(0, title)


class Level(nodes.inline):  # type: ignore[misc]
    """The level of a section, with a space before it: seen and heard, but no part of what the section is called.

    So a reference to the section, the search and the page's name have the title alone, and tables of contents, which
    copy what stands in a title, show the level too.
    """

    def astext(self) -> str:
        return ""


class MarkLevels(SphinxTransform):
    """Make the word behind a heading's last dot its level."""

    default_priority = 700  # behind translations

    def apply(self, **_: Any) -> None:
        for title in self.document.findall(nodes.title):
            before, mark = [nodes.Text(""), nodes.Text(""), *title.children][-2:]
            if not isinstance(mark, nodes.emphasis) or not before.astext().endswith(_BEFORE_LEVEL):
                continue
            word = mark.astext()
            if word not in LEVELS:
                logger.warning("a section's level is one of %s; got %r", ", ".join(LEVELS), word, location=title)
            title.replace(before, nodes.Text(before.astext().removesuffix(_BEFORE_LEVEL)))
            title.replace(mark, Level("", "", nodes.Text(" "), nodes.inline("", word, classes=["level"])))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", color_formulas)
    app.connect("doctree-resolved", name_part)
    app.add_node(Level)
    app.add_transform(MarkLevels)
    PygmentsBridge.html_formatter = ColoredCode
    return {"parallel_read_safe": True, "parallel_write_safe": True}
