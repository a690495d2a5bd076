"""Film a live figure of the built book while it is used, as the moving picture that the README shows.

    python -m tools.moving_picture [--site _build/html] [--page PAGE] [--figure SELECTOR] [OUTPUT]

A frame is a screenshot of the figure after each small step of the hand. So the film runs evenly however slow the
machine is, and the same pages in the same Chromium give the same film.
"""

import argparse
import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from tools.browser import find

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "_static" / "attention_live.webp"
PAGE, FIGURE = "chapters/02_scaled_dot_product.html", ".figure-place"
FRAME, LAST = 83, 700  # how long a frame is shown, and the last one, in milliseconds
MARGIN = 12  # around the figure, in pixels
Point = tuple[float, float]

# A screenshot does not show the pointer. This is a ring at its place, smaller and darker while the button is down.
HAND = """() => {
  const hand = document.createElement("div");
  hand.style.cssText = `position:fixed; z-index:9999; width:24px; height:24px; translate:-50% -50%; border-radius:50%;
    border:2px solid #222c; box-shadow:0 0 0 1.5px #fffc; pointer-events:none`;
  document.body.append(hand);
  const follow = ({ clientX, clientY, buttons }) => {
    const [scale, background] = buttons ? [0.8, "#2226"] : [1, "#2221"];
    Object.assign(hand.style, { left: `${clientX}px`, top: `${clientY}px`, scale, background });
  };
  for (const kind of ["pointermove", "pointerdown", "pointerup"]) addEventListener(kind, follow, true);
}"""
# The plane of *Attention, live* in its own units, the path of its query there, and how it is drawn in the figure.
LOW, HIGH, PLANE = -3.0, 7.0, (300, 322)
PATH = ((3.6, 0.8), (2.8, 3.6), (0.4, 5.2), (-1.8, 3.0), (-1.8, -1.4), (1.0, -2.2))


class Hand:
    """A pointer that moves in small steps, each a frame of the film."""

    def __init__(self, page: Page, place: Point) -> None:
        self.page, self.place = page, place
        page.evaluate(HAND)
        page.mouse.move(*place)

    def along(self, points: Sequence[Point], frames: int) -> Iterator[None]:
        """Follow a smooth curve through the points, slowly at both ends."""
        curve = [self.place, *points]
        for frame in range(1, frames + 1):
            eased = (1 - math.cos(math.pi * frame / frames)) / 2
            self.place = _between(curve, eased * (len(curve) - 1))
            self.page.mouse.move(*self.place)
            yield

    def drag(self, start: Point, points: Sequence[Point], frames: int, *, reach: int = 6) -> Iterator[None]:
        """Go to a place, and from there along the points with the button down."""
        yield from self.along([start], reach)
        self.page.mouse.down()
        yield from self.along(points, frames)
        self.page.mouse.up()
        yield

    def rest(self, frames: int) -> Iterator[None]:
        for _ in range(frames):
            yield


def attention(figure: Locator) -> Iterator[None]:
    """Use *Attention, live*: drag the query around, widen the vectors, make the weights sharp and even, and go back."""

    def on_plane(x: float, y: float) -> Point:
        box = _box(figure.locator("svg"))
        width, height = PLANE
        across, down = (x - LOW) / (HIGH - LOW), (HIGH - y) / (HIGH - LOW) * width / height
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def on_slider(name: str, value: float) -> Point:
        slider, thumb = figure.get_by_label(name), 16
        box, last = _box(slider), float(slider.get_attribute("max") or 0)
        return box["x"] + thumb / 2 + value / last * (box["width"] - thumb), box["y"] + box["height"] / 2

    x, y = figure.evaluate("place => place.model.get('query')")[:2]
    home = on_plane(x, y)
    corner = on_plane(5.4, -2.6)
    hand = Hand(figure.page, corner)
    yield from hand.rest(4)
    yield from hand.drag(home, [*(on_plane(*point) for point in PATH), home], 44)
    yield from hand.drag(on_slider("width d_k", 0), [on_slider("width d_k", 3)], 10)
    yield from hand.rest(3)
    warmth = [on_slider("temperature", index) for index in (3, 0, 6)]
    yield from hand.drag(warmth[0], [warmth[1]], 8)
    yield from hand.rest(2)
    yield from hand.drag(warmth[1], [warmth[2]], 12, reach=1)
    yield from hand.rest(2)
    yield from hand.drag(warmth[2], [warmth[0]], 6, reach=1)
    yield from hand.drag(on_slider("width d_k", 3), [on_slider("width d_k", 0)], 7)
    yield from hand.along([corner], 6)


def film(url: str, selector: str, use: Callable[[Locator], Iterator[None]]) -> list[Image.Image]:
    """Screenshots of a page's first such figure, one for each step of its use.

    Args:
        url: of the page.
        selector: of the figure's place.
        use: does one step after the other.

    Returns:
        The frames, all of one size.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        page.goto(url)
        page.wait_for_load_state("networkidle")
        figure = page.locator(f"{selector}.awake").first
        figure.wait_for()
        figure.evaluate("place => place.scrollIntoView({ block: 'center', behavior: 'instant' })")
        box = _box(figure.locator(".live-figure"))
        left, top = box["x"] - MARGIN, box["y"] - MARGIN
        width, height = box["width"] + 2 * MARGIN, box["height"] + 2 * MARGIN
        shots = (page.screenshot(clip={"x": left, "y": top, "width": width, "height": height}) for _ in use(figure))
        frames = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
        browser.close()
    return frames


def save(frames: Sequence[Image.Image], path: Path) -> None:
    """Write an animated WebP that starts again after a moment; frames that show the same become one."""
    kept: list[Image.Image] = []
    times: list[int] = []
    for frame in frames:
        if kept and frame.tobytes() == kept[-1].tobytes():
            times[-1] += FRAME
        else:
            kept.append(frame)
            times.append(FRAME)
    times[-1] += LAST
    kept[0].save(
        path, save_all=True, append_images=kept[1:], duration=times, loop=0, lossless=True, quality=90, method=4
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html", help="the built book")
    parser.add_argument("--page", default=PAGE, help="the page of the site that shows the figure")
    parser.add_argument("--figure", default=FIGURE, help="a selector of the figure's place")
    parser.add_argument("output", type=Path, nargs="?", default=OUTPUT, help="where to write")
    arguments = parser.parse_args()
    frames = film((arguments.site / arguments.page).resolve().as_uri(), arguments.figure, attention)
    save(frames, arguments.output)
    print(f"{arguments.output}: {len(frames)} frames of {frames[0].size}, {arguments.output.stat().st_size} bytes")


def _box(place: Locator) -> dict[str, float]:
    box = place.bounding_box()
    if box is None:
        raise ValueError("the figure, or a part of it, is not to be seen")
    return {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}


def _between(points: Sequence[Point], at: float) -> Point:
    """The place on a Catmull-Rom curve through the points; whole numbers are the points themselves."""
    index = min(int(at), len(points) - 2)
    t = at - index
    before, start, end, after = (points[min(max(index + i, 0), len(points) - 1)] for i in (-1, 0, 1, 2))

    def blend(a: float, b: float, c: float, d: float) -> float:
        return b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))

    return blend(before[0], start[0], end[0], after[0]), blend(before[1], start[1], end[1], after[1])


if __name__ == "__main__":
    main()
