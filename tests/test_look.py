"""The levels of sections, and the colors of query, key and value on the built pages."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from playwright.sync_api import Browser
from pygments import highlight
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from tests.browsing import SITE, Visit, chapter_page
from transformer_lib.plots import KEY, QUERY, VALUE

sys.path.append(str(Path(__file__).parent.parent / "_ext"))
import look

COLORS = {"query": QUERY, "key": KEY, "value": VALUE}
HTML = SimpleNamespace(builder=SimpleNamespace(format="html"))


@pytest.mark.parametrize(
    ("formula", "colored"),
    [
        ("QK^\\top / \\sqrt{d_k}", "\\class{query}{Q}\\class{key}{K}^\\top / \\sqrt{d_k}"),
        ("W^Q_i, W^O", "W^\\class{query}{Q}_i, W^O"),
        ("\\mathrm{Query}\\, V", "\\mathrm{Query}\\, \\class{value}{V}"),
        ("\\lvert\\mathcal{V}\\rvert + \\Vert x \\Vert", "\\lvert\\mathcal{V}\\rvert + \\Vert x \\Vert"),
        ("K(x)", "K(x)"),
    ],
)
def test_formulas(formula: str, colored: str) -> None:
    document = nodes.paragraph("", "", nodes.math(formula, formula))
    look.color_formulas(HTML, document, "page")
    assert document[0].astext() == colored


def test_names_in_code() -> None:
    names = {
        "query": ("query", "queries", "Q", "w_query", "q_proj", "all_queries"),
        "key": ("key", "keys", "k_proj", "w_k"),
        "value": ("value", "v_proj", "W_v"),
        None: ("k", "top_k", "monkey", "d_k", "keyboard", "query_of_interessante", "values_of", "x"),
    }
    for role, words in names.items():
        assert {look.role_of(word) for word in words} == {role}
    for code, expected in {
        "query @ x": 'class="n query">query<',
        "x": 'class="n">x<',
        "x.values()": 'class="n">values<',
        "sorted(x, key=lambda y: y)": 'class="n">key<',
        "attend(x, key=y)": 'class="n key">key<',
    }.items():
        assert expected in highlight(code, PythonLexer(), look.ColoredCode())


PAGE = """# A page

(sec:plain)=
## A section

See {ref}`sec:deep`.

(sec:deep)=
## A *proof* · *deeper*

### Costs · *engineering*

## Three · dots
"""


def build(folder: Path, page: str, extension: str = "look") -> tuple[str, nodes.Node, str]:
    """A book of one page: its HTML, its contents, and the warnings."""
    source = folder / "source"
    source.mkdir()
    (source / "index.md").write_text(page, encoding="utf-8")
    settings = f'extensions = ["myst_parser", "{extension}"]\nmyst_enable_extensions = ["colon_fence"]\n'
    (source / "conf.py").write_text(settings)
    warnings = io.StringIO()
    with docutils_namespace():
        app = Sphinx(source, source, folder / "built", folder / "trees", "html", status=None, warning=warnings)
        app.build()
    html = (folder / "built" / "index.html").read_text(encoding="utf-8")
    return html, app.env.tocs["index"], warnings.getvalue()


def test_levels_are_no_part_of_a_title(tmp_path: Path) -> None:
    html, contents, warnings = build(tmp_path, PAGE)
    assert '<h2>A <em>proof</em><span> <span class="level">deeper</span></span><a' in html
    assert '<h3>Costs<span> <span class="level">engineering</span></span><a' in html
    assert '<span class="std std-ref">A proof</span>' in html
    assert "<h2>Three · dots<a" in html
    marks = [(one.parent.astext(), one[-1].astext()) for one in contents.findall(look.Level)]
    assert marks == [("A proof", "deeper"), ("Costs", "engineering")]
    search = (tmp_path / "built" / "searchindex.js").read_text(encoding="utf-8")
    assert '"A proof"' in search
    assert '"Costs"' in search
    assert warnings == ""


def test_an_unknown_level_is_told(tmp_path: Path) -> None:
    *_, warnings = build(tmp_path, PAGE.replace("deeper", "depper"))
    assert "a section's level is one of deeper, engineering; got 'depper'" in warnings


@pytest.mark.browser
def test_one_color_in_prose_formulas_code_and_figures(browser: Browser, address: str) -> None:
    with Visit(browser, f"{address}/{chapter_page('scaled')}") as visit:
        visit.page.locator(".figure-place.awake").first.wait_for()
        for role, color in COLORS.items():
            expected = f"rgb{tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))}"
            for where in (f"strong.{role}", f".highlight .{role}", f"mjx-container .{role}"):
                found = visit.page.locator(where).evaluate_all("all => all.map(e => getComputedStyle(e).color)")
                assert found, f"no {where} in the chapter that introduces it"
                assert set(found) == {expected}, where
            named = visit.page.locator(".live-figure").evaluate(
                "(figure, role) => getComputedStyle(figure).getPropertyValue(`--lf-${role}`)", role
            )
            assert named == color
    assert visit.faults == []


def test_chapters_name_their_part() -> None:
    for page in sorted((SITE / "chapters").glob("*.html")):
        part = "Part I. Attention" if page.name < "06" else "Part II. The stack"
        assert f'<p class="part-of-book">{part}</p>' in page.read_text(encoding="utf-8"), page.name
