"""The figure of positions: its numbers are the library's, and it can be used by keyboard and by mouse."""

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator

import transformer_lib as lib
from tests.figure_page import FigurePage, in_page
from tests.figure_values import exact_score, exact_table, number_in, state_of, turned
from transformer_lib.widgets import PositionsFigure

# ---- In Python.


def test_python_computes_what_the_library_does() -> None:
    figure = PositionsFigure([1.0, 0.5, -0.3, 2.0], [0.2, 1.0, 1.0, -0.5], length=20, d_model=6, position=4)
    figure.position, figure.query_at, figure.key_at = 7, 9, 3
    table = lib.sinusoidal_table(20, 6).double()
    assert figure.row == pytest.approx(table[7].tolist())
    assert figure.profile == pytest.approx((table @ table[7]).tolist())
    score = exact_score(figure.get_state())
    assert figure.score == pytest.approx(score)
    assert sum(figure.pairs) == pytest.approx(score)
    figure.query_at, figure.key_at = 19, 13
    assert figure.score == pytest.approx(score)


def test_the_query_looks_three_back() -> None:
    figure = PositionsFigure(query_at=30)
    scores = {}
    for figure.key_at in range(60):
        scores[30 - figure.key_at] = figure.score
    assert max(scores, key=lambda distance: scores[distance]) == 3
    assert scores[3] == pytest.approx(4 * 0.75, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"query": [1.0, 2.0, 3.0], "key": [1.0, 2.0, 3.0]}, r"query must have shape \(d_head,\) with an even d_head"),
        ({"query": [1.0, 2.0]}, r"key must have shape \(2,\); got \(8,\)"),
        ({"d_model": 5}, "d_model must be positive and even; got 5"),
        ({"length": 1}, "length must be at least 2; got 1"),
        ({"part": "alibi"}, "part must be 'waves' or 'rotary'; got 'alibi'"),
        ({"position": 60}, "position must lie between 0 and 59; got 60"),
        ({"key_at": -1}, "key_at must lie between 0 and 59; got -1"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PositionsFigure(**arguments)


def test_a_place_outside_is_refused_later_too() -> None:
    figure = PositionsFigure()
    with pytest.raises(ValueError, match="query_at must lie between 0 and 59; got 60"):
        figure.query_at = 60
    assert figure.query_at == 12


@pytest.mark.parametrize("part", ["waves", "rotary"])
def test_name_and_still_picture(part: str) -> None:
    bundle = PositionsFigure(part=part)._repr_mimebundle_()[0]
    assert bundle["text/plain"] == f"PositionsFigure({part}, 60 positions)"
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert PositionsFigure(part=part)._repr_mimebundle_()[0]["image/png"] == bundle["image/png"]


# ---- The mathematics, in the browser.


@pytest.mark.browser
def test_mathematics(browser: Browser) -> None:
    page = browser.new_page()
    for length, width in ((60, 32), (7, 10)):
        table = in_page(page, "positions", "Array.from({length: x[0]}, (_, p) => m.wave(p, x[1]))", [length, width])
        assert np.array(table) == pytest.approx(exact_table(length, width), abs=1e-12)
        assert np.array(table) == pytest.approx(lib.sinusoidal_table(length, width).numpy(), abs=1e-7)
        for position in (0, 5):
            products = in_page(page, "positions", "m.alike(x[0], x[1])", [table, position])
            assert products == pytest.approx(
                exact_table(length, width) @ exact_table(length, width)[position], abs=1e-9
            )
    query, key = np.random.default_rng(1).standard_normal((2, 8)).tolist()
    for m, n in ((0, 0), (12, 7), (112, 107), (3, 59)):
        assert in_page(page, "positions", "m.turn(...x)", [query, m]) == pytest.approx(turned(query, m), abs=1e-9)
        pairs = in_page(page, "positions", "m.pairProducts(...x)", [query, key, m, n])
        exact = (turned(query, m) * turned(key, n)).unflatten(-1, (-1, 2)).sum(-1)
        assert pairs == pytest.approx(exact, abs=1e-9)
    page.close()


# ---- On a page.


@pytest.mark.browser
def test_waves(browser: Browser) -> None:
    figure = PositionsFigure(tabs=False)
    with FigurePage(browser, figure) as visit:
        place = visit.figure()
        status = place.locator("[role=status]:visible")
        table = exact_table(60, 32)

        def agrees(position: int) -> None:
            assert state_of(place)["position"] == position
            beside = position - 3 if position >= 3 else position + 3
            assert f"Row {position} with itself: 16.00." in status.inner_text()
            assert f"3 places away: {table[position] @ table[beside]:.2f}." in status.inner_text()

        assert not place.get_by_role("button").count()
        agrees(30)
        # By keyboard.
        place.get_by_role("slider", name="position").focus()
        visit.page.keyboard.press("ArrowRight")
        agrees(31)
        visit.page.keyboard.press("Home")
        agrees(0)
        visit.page.keyboard.press("End")
        agrees(59)
        place.get_by_label("draw over the distance").focus()
        visit.page.keyboard.press("Space")
        assert state_of(place)["by_distance"] is True
        assert place.get_by_text("distance from position 59").is_visible()
        # By mouse, on the table.
        box = place.locator("svg.lf-waves").bounding_box()
        assert box is not None
        unit = box["width"] / 290
        row = (392 - 38 - 10) / 60
        visit.page.mouse.move(box["x"] + 100 * unit, box["y"] + (10 + 20.5 * row) * unit)
        visit.page.mouse.down()
        agrees(20)
        visit.page.mouse.move(box["x"] + 100 * unit, box["y"] + (10 + 42.5 * row) * unit)
        visit.page.mouse.up()
        agrees(42)
        visit.page.mouse.move(box["x"] + 100 * unit, box["y"] + (10 + 9.5 * row) * unit)
        agrees(42)
    assert visit.faults == []


@pytest.mark.browser
def test_the_profile_depends_on_the_distance_alone(browser: Browser) -> None:
    figures = [PositionsFigure(position=position, by_distance=True) for position in (20, 31)]
    with FigurePage(browser, *figures) as visit:
        curves = []
        for i in range(2):
            drawn = visit.figure(i).locator("svg.lf-chart path[stroke='var(--lf-query)']").get_attribute("d") or ""
            curves.append(set(drawn.lstrip("M").split("L")))
    assert len(curves[0] & curves[1]) >= 60 - 11 - 1  # all that both have, but where a path begins


def shown_pairs(place: Locator) -> list[float]:
    return [number_in(text) for text in place.locator(".lf-pair .lf-product").all_inner_texts()]


@pytest.mark.browser
def test_rotary(browser: Browser) -> None:
    with FigurePage(browser, PositionsFigure()) as visit:
        place = visit.figure()
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Enter")
        assert state_of(place)["part"] == "rotary"
        assert place.get_by_role("button", name="Turned arrows").get_attribute("aria-pressed") == "true"
        assert not place.get_by_role("slider", name="position").is_visible()
        status = place.locator("[role=status]:visible")

        def agrees(m: int, n: int) -> float:
            state = state_of(place)
            assert (state["query_at"], state["key_at"]) == (m, n)
            pairs = (turned(state["query"], m) * turned(state["key"], n)).unflatten(-1, (-1, 2)).sum(-1)
            assert shown_pairs(place) == pytest.approx(pairs.tolist(), abs=0.0051)
            score = exact_score(state)
            assert number_in(place.locator(".lf-score strong").inner_text()) == pytest.approx(score, abs=0.0051)
            assert f"Query at {m}, key at {n}: distance {m - n}".replace("-", "−") in status.inner_text()
            return score

        agrees(12, 7)
        place.get_by_role("slider", name="query at").focus()
        visit.page.keyboard.press("ArrowLeft")
        visit.page.keyboard.press("ArrowLeft")
        assert agrees(10, 7) == pytest.approx(3.0, abs=1e-3)
        # Both together.
        place.get_by_label("move both together").check()
        place.get_by_role("slider", name="query at").focus()
        visit.page.keyboard.press("PageUp")
        moved = state_of(place)["query_at"]
        assert moved > 10
        assert agrees(moved, moved - 3) == pytest.approx(3.0, abs=1e-3)
        assert "the score are as before" in status.inner_text()
        # They stop together at the end, and at the beginning.
        visit.page.keyboard.press("End")
        agrees(59, 56)
        place.get_by_role("slider", name="key at").focus()
        visit.page.keyboard.press("Home")
        agrees(3, 0)
        place.get_by_label("move both together").uncheck()
        place.get_by_role("slider", name="key at").focus()
        visit.page.keyboard.press("End")
        agrees(3, 59)
        assert "as before" not in status.inner_text()
    assert visit.faults == []


@pytest.mark.browser
def test_the_arrows_are_the_pairs(browser: Browser) -> None:
    figure = PositionsFigure(part="rotary", query_at=25, key_at=4)
    with FigurePage(browser, figure) as visit:
        tips = visit.figure().locator("svg polygon").evaluate_all("all => all.map(p => p.getAttribute('points'))")
    drawn = np.array([[float(v) for v in points.split()[0].split(",")] for points in tips]).reshape(4, 2, 2)
    drawn[..., 1] *= -1  # upwards
    for which, (vector, place) in enumerate(((figure.key, 4), (figure.query, 25))):
        pairs = turned(vector, place).reshape(4, 2).numpy()
        assert drawn[:, which] == pytest.approx(56 * pairs, abs=0.02)  # the longest arrow is 1 long


@pytest.mark.browser
@pytest.mark.parametrize("part", ["waves", "rotary"])
@pytest.mark.parametrize("tabs", [False, True])
@pytest.mark.parametrize(("width", "which"), [(1280, 0), (390, 1)])
def test_room(browser: Browser, part: str, tabs: bool, width: int, which: int) -> None:
    figure = PositionsFigure(part=part, tabs=tabs)
    with FigurePage(browser, figure, width=width) as visit:
        used = visit.figure().evaluate("place => place.firstElementChild.offsetHeight")
        assert 0.8 * figure.heights[which] <= used <= figure.heights[which] + 8
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
