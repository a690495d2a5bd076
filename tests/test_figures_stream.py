"""The figure of the residual stream: its numbers are PyTorch's, it agrees with chapter 6, and anyone can use it."""

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from tests.figure_page import FigurePage, in_page
from tests.figure_values import NAMES, as_number, state_of
from transformer_lib.widgets import StreamFigure
from transformer_lib.widgets.stream import KINDS, measure, random_numbers

# ---- In Python.


def test_the_random_numbers() -> None:
    many = random_numbers(5, 0, 200_000)
    assert many.mean().item() == pytest.approx(0, abs=0.01)
    assert many.var().item() == pytest.approx(1, abs=0.01)
    assert 1.7 < many.max().item() < 3**0.5
    assert random_numbers(5, 40, 3, 4).flatten().tolist() == many[40:52].tolist()
    for other in (many[1:], random_numbers(6, 0, 199_999)):
        assert np.corrcoef(many[:-1], other)[0, 1] == pytest.approx(0, abs=0.01)


def test_a_branch_has_its_size() -> None:
    # In pre-norm, each branch adds a vector of its size in a random direction.
    for branch in (0.1, 0.5, 1.0):
        first = np.mean([measure(1, branch, seed, "pre")[0][1] for seed in range(40)])
        assert first == pytest.approx((1 + branch**2) ** 0.5, rel=0.02)


def test_agrees_with_the_chapter() -> None:
    depth, branch = 32, 0.5
    runs = {name: [measure(depth, branch, seed, name) for seed in range(16)] for name in NAMES}
    sizes = {name: np.array([run[0] for run in all_runs]) for name, all_runs in runs.items()}
    slopes = {name: np.array([run[1] for run in all_runs]) for name, all_runs in runs.items()}

    def last_to_first(name: str) -> float:
        """The gradient of the last eight branches as a part of that of the first eight; the mean of all runs."""
        logs = np.log(slopes[name])
        return float(np.exp((logs[:, -8:].mean(1) - logs[:, :8].mean(1)).mean()))

    # The stream: pre-norm grows like the root of the depth, post-norm does not grow, no norm grows exponentially.
    assert sizes["pre"][:, -1].mean() == pytest.approx((1 + depth * branch**2) ** 0.5, rel=0.1)
    assert sizes["post"] == pytest.approx(1, abs=1e-4)
    assert np.exp(np.log(sizes["none"][:, -1]).mean()) == pytest.approx((1 + branch**2) ** (depth / 2), rel=0.4)
    # Gradients: they fall in pre-norm; without a norm before the branch there is no trend over the branches.
    assert last_to_first("pre") < 0.6
    assert 0.75 < last_to_first("post") < 1.35
    assert 0.75 < last_to_first("none") < 1.35
    # Deeper stacks: the last gradient falls in pre-norm and does not in post-norm.
    deeper = {name: np.mean([measure(8, branch, seed, name)[1][-1] for seed in range(16)]) for name in NAMES}
    assert slopes["pre"][:, -1].mean() / deeper["pre"] < 0.75
    assert 0.8 < slopes["post"][:, -1].mean() / deeper["post"] < 1.25
    assert slopes["none"][:, -1].mean() / deeper["none"] > 5


def test_python_follows_its_traits() -> None:
    figure = StreamFigure(depth=3)
    figure.depth, figure.branch, figure.seed = 5, 0.3, 7
    for name in NAMES:
        assert (figure.sizes[name], figure.gradients[name]) == measure(5, 0.3, 7, name)
        assert (len(figure.sizes[name]), len(figure.gradients[name])) == (6, 5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"depth": 0}, "depth must lie between 1 and 64; got 0"),
        ({"depth": 65}, "depth must lie between 1 and 64; got 65"),
        ({"branch": 1.5}, "branch must lie between 0.01 and 1.0; got 1.5"),
        ({"seed": -1}, "seed must lie between 0 and 999; got -1"),
        ({"shown": ["pre", "plain"]}, "shown may hold pre, post and none; got plain"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        StreamFigure(**arguments)


def test_name_and_still_picture() -> None:
    bundle = StreamFigure(8, 0.25)._repr_mimebundle_()[0]
    assert bundle["text/plain"] == "StreamFigure(8 branches of size 0.25)"
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert StreamFigure(8, 0.25)._repr_mimebundle_()[0]["image/png"] == bundle["image/png"]
    assert StreamFigure(1, shown=())._repr_mimebundle_()[0]["image/png"] != bundle["image/png"]


# ---- The mathematics, in the browser.


@pytest.mark.browser
def test_mathematics(browser: Browser) -> None:
    page = browser.new_page()
    for seed in (0, 1, 999):
        numbers = in_page(page, "stream", "Array.from({length: 99}, (_, i) => m.randomAt(x, 500_000 + i))", seed)
        assert numbers == pytest.approx(random_numbers(seed, 500_000, 99).tolist(), abs=1e-14)
    for depth, branch, seed in ((1, 1.0, 0), (12, 0.24, 3), (64, 0.6, 11), (64, 1.0, 999)):
        for name in NAMES:
            sizes, gradients = measure(depth, branch, seed, name)
            run = in_page(
                page, "stream", "m.runStack(new m.Weights(x[0]), x[1], x[2], x[3])", [seed, depth, branch, name]
            )
            assert run["sizes"] == pytest.approx(sizes, rel=1e-9)
            assert run["gradients"] == pytest.approx(gradients, rel=1e-9)
    page.close()


@pytest.mark.browser
def test_numbers_and_axes(browser: Browser) -> None:
    page = browser.new_page()
    cases = {
        0.123: "0.12",
        0.9951: "1.0",
        5.55: "5.5",
        9.96: "10",
        143.2: "143",
        9996: "1.0 · 10⁴",
        7.6e-12: "7.6 · 10⁻¹²",
    }
    for value, text in cases.items():
        assert in_page(page, "stream", "m.brief(x)", value) == text
    for values in ([1], [1, 1.2], [0.8, 38], [0.2, 7e9], [1, 2e22], [0.003, 0.004], [1e-9, 1]):
        axis = in_page(page, "stream", "m.logAxis(x)", values)
        low, high = axis["range"]
        assert low < np.log10(min(values)) <= np.log10(max(values)) < high
        assert 4 <= len(axis["ticks"]) <= 9
        assert [axis["ticks"][0][0], axis["ticks"][-1][0]] == pytest.approx([low, high])
    page.close()


# ---- On a page.


@pytest.mark.browser
def test_stream(browser: Browser) -> None:
    with FigurePage(browser, StreamFigure()) as visit:
        place = visit.figure()

        def agrees() -> dict[str, Any]:
            state = state_of(place)
            rows = place.locator("tbody tr").all()
            for name, row in zip(NAMES, rows, strict=True):
                sizes, gradients = measure(state["depth"], state["branch"], state["seed"], name)
                told = [as_number(text) for text in row.locator("td").all_inner_texts()]
                assert told == pytest.approx([sizes[-1], gradients[0], gradients[-1]], rel=0.06)
            return state

        assert agrees()["depth"] == 32
        # By keyboard.
        place.get_by_role("slider", name="branches").focus()
        visit.page.keyboard.press("End")
        place.get_by_role("slider", name="size of each").focus()
        visit.page.keyboard.press("End")
        state = agrees()
        assert (state["depth"], state["branch"]) == (64, 1.0)
        status = place.locator("[role=status]:visible").inner_text()
        assert "Post-norm: the stream stays at 1.0." in status
        assert "10⁹" in status or "10¹⁰" in status
        visit.page.keyboard.press("Home")
        place.get_by_role("slider", name="branches").focus()
        visit.page.keyboard.press("Home")
        state = agrees()
        assert (state["depth"], state["branch"]) == (1, 0.01)
        visit.page.keyboard.press("PageUp")
        # By mouse.
        place.get_by_role("button", name="other random weights").click()
        assert agrees()["seed"] == 1
        lines = place.locator(".lf-halves svg path")
        assert lines.count() == 6
        place.get_by_label("draw no norm").click()
        assert state_of(place)["shown"] == ["pre", "post"]
        assert [bool(line.get_attribute("d")) for line in lines.all()] == [True, True, False] * 2
        for name in ("pre-norm", "post-norm"):
            place.get_by_label(f"draw {name}").click()
        assert not any(line.get_attribute("d") for line in lines.all())
        place.get_by_label("draw post-norm").click()
        assert state_of(place)["shown"] == ["post"]
    assert visit.faults == []


@pytest.mark.browser
def test_python_moves_the_figure(browser: Browser) -> None:
    with FigurePage(browser, StreamFigure(8, 0.2)) as visit:
        place = visit.figure()
        place.evaluate("place => place.model.set('depth', 20)")
        assert place.get_by_role("slider", name="branches").input_value() == "19"  # the twentieth choice
        size = measure(20, 0.2, 0, "pre")[0][-1]
        assert as_number(place.locator("tbody td").first.inner_text()) == pytest.approx(size, rel=0.06)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "which"), [(1280, 0), (390, 1)])
def test_room(browser: Browser, width: int, which: int) -> None:
    figure = StreamFigure()
    with FigurePage(browser, figure, width=width) as visit:
        used = visit.figure().evaluate("place => place.firstElementChild.offsetHeight")
        assert 0.8 * figure.heights[which] <= used <= figure.heights[which] + 8
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
