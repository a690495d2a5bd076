"""Boxes that ask before the page shows: their answers open without a script."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browsing import AXE, Visit, chapter_page, in_theme
from tests.test_look import build

BOX = """# A page

:::{predict}
How *long* is it?

<details><summary>One **token**.</summary>

Right. It ends.

</details>
<details><summary>Five.</summary>

That is the mean.

And more.

</details>
:::

:::{predict}
And without answers?
:::
"""


def test_answers_are_there_to_choose(tmp_path: Path) -> None:
    html, _, warnings = build(tmp_path, BOX, "exercises")
    one, two = html.split('<div class="tip predict admonition">')[1:]
    assert '<p class="admonition-title">Predict</p>\n<p>How <em>long</em> is it?</p>' in one
    right, wrong = one.split("<details ")[1:]
    assert 'class="answer" name="prediction-0"' in right
    assert 'class="answer" name="prediction-0"' in wrong
    assert '<summary>One <strong>token</strong>.</summary><div class="right"><p>Right. It ends.</p>' in right
    assert '<summary>Five.</summary><div class="wrong"><p>That is the mean.</p>\n<p>And more.</p>' in wrong
    assert "details" not in two
    assert warnings == ""


@pytest.mark.parametrize("first", ["Wrong.", "Right."])
def test_one_answer_is_right(tmp_path: Path, first: str) -> None:
    page = BOX.replace("Right.", first).replace("That is", "Right. That is" if first == "Right." else "That is")
    *_, warnings = build(tmp_path, page, "exercises")
    assert "what is said of one answer begins with 'Right.', and of no other" in warnings


@pytest.mark.browser
def test_a_choice_is_answered(browser: Browser, address: str) -> None:
    with Visit(browser, f"{address}/{chapter_page('decoding')}") as visit:
        box = visit.page.locator(".predict:has(details)").first
        first, second = (box.locator("details").nth(number) for number in (0, 1))
        assert not first.locator("div").is_visible()
        first.locator("summary").press("Enter")
        assert first.locator("div").is_visible()
        second.locator("summary").click()
        assert second.locator("div").is_visible()
        assert not first.locator("div").is_visible(), "one answer at a time"
        visit.page.evaluate(AXE)
        for theme in ("light", "dark"):
            in_theme(visit.page, theme)
            found = visit.page.evaluate("() => axe.run('.predict:has(details)', {resultTypes: ['violations']})")
            assert found["violations"] == []
