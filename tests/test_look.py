"""The colors of query, key and value on the built pages."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from playwright.sync_api import Browser
from pygments import highlight
from pygments.lexers import PythonLexer

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
