"""What all live figures share: they follow their model until they go away, and keep what their reader chooses."""

import pytest
from playwright.sync_api import Browser

from tests.figure_page import FigurePage
from tests.figures_made import MADE, made
from transformer_lib import widgets
from transformer_lib.widgets import PositionsFigure
from transformer_lib.widgets.figure import source


def test_every_figure_has_an_example() -> None:
    assert sorted(type(made(name)).__name__ for name in MADE) == sorted(widgets.__all__)
    assert all(made(name)._esm == source(name) for name in MADE)


@pytest.mark.browser
@pytest.mark.parametrize("name", MADE)
def test_a_figure_that_goes_away_hears_nothing_more(browser: Browser, name: str) -> None:
    with FigurePage(browser, made(name)) as visit:
        before, during, after = visit.figure().evaluate(
            """async (place, code) => {
              const count = () => Object.values(place.model.listeners).flat().length;
              const before = count(), address = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
              const el = document.createElement("div");
              const leave = (await import(address)).default.render({model: place.model, el});
              const during = count();
              leave?.();
              return [before, during, count()];
            }""",
            source(name),
        )
        assert before == after
        assert during == 2 * before
    assert visit.faults == []


@pytest.mark.browser
def test_values_that_change_at_once_arrive_together(browser: Browser) -> None:
    with FigurePage(browser, PositionsFigure(part="rotary", query_at=12, key_at=7)) as visit:
        place, status = visit.figure(), visit.figure().locator("[role=status]:visible")
        told = place.evaluate(
            """place => {
              const told = [], hear = name => model => told.push([name, model.get("query_at"), model.get("key_at")]);
              for (const name of ["query_at", "key_at", "length"]) place.model.on(`change:${name}`, hear(name));
              place.model.on("change", hear("all"));
              place.model.set({query_at: 15, key_at: 10, length: place.model.get("length")});
              place.model.set({query_at: 15, key_at: 10});
              return told;
            }"""
        )
        assert told == [["query_at", 15, 10], ["key_at", 15, 10], ["all", 15, 10]]
        assert "Query at 15, key at 10" in status.inner_text()
        assert "the score are as before" in status.inner_text()  # the figure has seen one change, not two
    assert visit.faults == []
