"""What the pages show of an exercise's declaration: its hints, and the list of all exercises.

* ``{hints} ID`` becomes a dropdown for each hint. In a notebook its content stands there instead: how to ask for one.
* ``{exercise-list}`` becomes a table for each chapter.

Both are parsed as the text of the page, so that their translations are found like those of any other text.
"""

from collections.abc import Iterable

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises import exercises, of_chapter


class Generated(SphinxDirective):
    """A directive whose content is written here and parsed as MyST."""

    def parsed(self, lines: Iterable[str]) -> list[nodes.Node]:
        source = self.env.doc2path(self.env.docname)
        container = nodes.Element()
        self.state.nested_parse(StringList(list(lines), source), self.content_offset, container)
        return container.children


class Hints(Generated):
    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        known = exercises()
        if self.arguments[0] not in known:
            raise self.error(f"there is no exercise {self.arguments[0]!r}")
        lines: list[str] = []
        for number, text in enumerate(known[self.arguments[0]].hints, 1):
            lines += [f"```{{dropdown}} Hint {number}", text, "```", ""]
        return self.parsed(lines)


class ExerciseList(Generated):
    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for chapter in CHAPTERS:
            inside = of_chapter(chapter)
            if not inside:
                continue
            lines += [f"**{{ref}}`chap:{chapter}`**", "", "| Exercise | Kind | Level | Minutes |", "|:--|:--|:--|--:|"]
            for one in inside:
                lines.append(f"| {{ref}}`{one.title} <ex-{one.id}>` | {one.kind} | {one.level} | {one.minutes} |")
            lines.append("")
        return self.parsed(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("hints", Hints)
    app.add_directive("exercise-list", ExerciseList)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
