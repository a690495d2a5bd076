"""What the pages show of an exercise's declaration: its hints, a form for a prediction, and the list of all exercises.

* ``{hints} ID`` becomes a dropdown for each hint. In a notebook its content stands there instead: how to ask for one.
  Above the hints of a prediction stands a form to answer it on the page, without a kernel. The form holds the right
  answer and that of each named mistake, as the declaration computes them, with what is to be said of them;
  ``_static/predictions.js`` compares. Without JavaScript there is no form, and the solution folds open.
* ``{exercise-list}`` becomes a table for each chapter, the core exercises marked, below what this device remembers of
  the predictions.

* ``{predict}`` is a box that asks before the page shows. Its answers may be there to choose from, each with what is to
  be said of it, as HTML that a notebook folds away too; the page needs no script for them. One of them is right::

    :::{predict}
    How long is the text?

    <details><summary>One token.</summary>

    Right. It ends at once.

    </details>
    <details><summary>Five tokens.</summary>

    That is the mean.

    </details>
    :::

All is parsed as the text of the page, so that translations are found like those of any other text.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises import examine, exercises, of_chapter
from transformer_lib.exercises.engine.exercise import Exercise, Predict

logger = logging.getLogger(__name__)

ANSWER, CHECK, SOLVED, CORE = "Your answer", "Check", "✓ solved", "core"
PREDICT, IS_RIGHT = "Predict", "Right."
RIGHT = "Right. The book computed the same."
OTHER = "Not this. Open a hint below, and try again."
KIND = "Answer with {expects}, written as in Python."
ON_PAGES = "The predictions can be answered on their pages."
NONE_YET = "This device remembers none as solved yet."
SOME = "This device remembers {solved} of {all} as solved."
FORGET = "Forget them"

_ANSWER = re.compile(r"^<details><summary>(.+?)</summary>\n(.*?)\n</details>\n?", re.M | re.S)


class Tag(nodes.General, nodes.Element):  # type: ignore[misc]
    """An element of HTML that docutils has no node for: its name, and its attributes."""


def tag(
    name: str, /, *children: nodes.Node, classes: Iterable[str] = (), ids: Iterable[str] = (), **attributes: str
) -> Tag:
    """An element of HTML; an underscore in an attribute's name stands for a hyphen."""
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    own = {"classes": list(classes), "ids": list(ids), "support_smartquotes": False}
    return Tag("", *children, tag=name, attributes=named, **own)


def visit_tag(writer: Any, node: Tag) -> None:
    writer.body.append(writer.starttag(node, node["tag"], "", **node["attributes"]))


def depart_tag(writer: Any, node: Tag) -> None:
    if node["tag"] != "input":
        writer.body.append(f"</{node['tag']}>")


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
        exercise = known[self.arguments[0]]
        lines: list[str] = []
        for number, text in enumerate(exercise.hints, 1):
            lines += [f"```{{dropdown}} Hint {number}", text, "```", ""]
        form = [self.form(exercise)] if isinstance(exercise, Predict) else []
        return [*form, *self.parsed(lines)]

    def form(self, exercise: Predict) -> Tag:
        """What a reader answers a prediction with, and what is said of each answer."""
        replies = [self.reply(RIGHT, right=exercise.reference())]
        for mistake in exercise.mistakes:
            wrong = mistake.wrong() if callable(mistake.wrong) else mistake.wrong
            passage = examine(exercise, wrong, isolated=False).see
            pointer = nodes.reference("", passage, internal=True, see=mistake.see)
            replies.append(self.reply(mistake.says, pointer, mistake=wrong))
        replies.append(self.reply(KIND.format(expects=exercise.expects), of="kind"))
        replies.append(self.reply(OTHER, of="other"))
        if exercise.options:  # ShowForms brings the statement's list of them here
            asked = tag("fieldset", tag("legend", nodes.Text(ANSWER)))
        else:
            name = f"answer-{exercise.id}"
            label = tag("label", nodes.Text(f"{ANSWER}: {exercise.expects}"), for_=name)
            as_typed = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
            field = tag("input", ids=[name], type="text", name="answer", required="", **as_typed)
            asked = tag("div", label, field, classes=["live"])
        solved = tag("span", nodes.Text(SOLVED), classes=["solved"], hidden="")
        press = tag("div", tag("button", nodes.Text(CHECK), type="submit"), solved, classes=["live"])
        said = tag("div", role="status")
        data = {"data_exercise": exercise.id, "data_atol": repr(exercise.atol)}
        return tag("form", asked, press, said, *replies, classes=["prediction"], **data)

    def reply(self, text: str, pointer: nodes.reference | None = None, of: str = "", **answers: Any) -> Tag:
        """What is said of an answer, kept in the page until it is given."""
        data = {f"data_{name}": plain(answer) for name, answer in answers.items()} or {"data_of": of}
        says = self.parsed([text])
        if pointer is not None:
            says.append(nodes.paragraph("", "", nodes.Text("See "), pointer, nodes.Text(".")))
        return tag("template", *says, **data)


def plain(answer: Any) -> str:
    """An answer as JSON: numbers, words, truths, and lists of them."""
    return json.dumps(answer, ensure_ascii=False, allow_nan=False, default=lambda array: array.tolist())


class Prediction(Generated):
    """A question before the page answers it, with the answers to choose from, where they are given."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        source = "\n".join(self.content)
        answers = [(answer, said.strip()) for answer, said in _ANSWER.findall(source)]
        if answers and sum(said.startswith(IS_RIGHT) for _, said in answers) != 1:
            raise self.error(f"what is said of one answer begins with {IS_RIGHT!r}, and of no other")
        question = self.parsed(_ANSWER.sub("", source).splitlines())
        box = nodes.admonition("", nodes.title("", PREDICT), *question, classes=["tip", "predict"])
        name = f"prediction-{self.env.new_serialno('prediction')}"  # opening one answer closes the others
        for answer, said in answers:
            verdict = "right" if said.startswith(IS_RIGHT) else "wrong"
            reply = tag("div", *self.parsed(said.splitlines()), classes=[verdict])
            box += tag("details", tag("summary", *self.parsed([answer])), reply, name=name, classes=["answer"])
        return [box]


class ExerciseList(Generated):
    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for chapter in CHAPTERS:
            inside = of_chapter(chapter)
            if not inside:
                continue
            lines += [f"**{{ref}}`chap:{chapter}`**", "", "| Exercise | Kind | Level | Minutes |", "|:--|:--|:--|--:|"]
            for one in inside:
                title = f"{{ref}}`{one.title} <ex-{one.id}>`" + f" [{CORE}]{{.core}}" * one.core
                lines.append(f"| {title} | {one.kind} | {one.level} | {one.minutes} |")
            lines.append("")
        predictions = [exercise.id for exercise in exercises().values() if isinstance(exercise, Predict)]
        words = {"data_none": f"{ON_PAGES} {NONE_YET}", "data_some": f"{ON_PAGES} {SOME}", "data_solved": SOLVED}
        remembered = tag("span", nodes.Text(words["data_none"]), role="status")
        forget = tag("button", nodes.Text(FORGET), type="button", hidden="")
        data = {"data_predictions": " ".join(predictions), **words}
        progress = tag("p", remembered, nodes.Text(" "), forget, classes=["progress-here", "live"], **data)
        return [progress, *self.parsed(lines)]


class ShowForms(SphinxPostTransform):
    """Put a prediction's choices into its form, and lead its pointers to their passages; other books get no form."""

    default_priority = 5

    def run(self, **_: Any) -> None:
        for element in list(self.document.findall(Tag)):
            if self.app.builder.format != "html":
                if not isinstance(element.parent, Tag):
                    element.parent.remove(element)
            elif element["tag"] == "summary":
                element.children = [part for paragraph in element.children for part in paragraph.children]
            elif element["tag"] == "form":
                exercise = exercises()[element["attributes"]["data-exercise"]]
                assert isinstance(exercise, Predict)
                if exercise.options:
                    self.choose(element, exercise)
                for pointer in element.findall(lambda node: isinstance(node, nodes.reference) and "see" in node):
                    self.lead(pointer, exercise)

    def choose(self, form: Tag, exercise: Predict) -> None:
        """Make the list of choices in the statement one of buttons."""
        for found in form.parent.findall(nodes.bullet_list):
            letters = [next(iter(item.findall(nodes.strong)), nodes.strong()).astext() for item in found.children]
            if letters == list(exercise.options):
                break
        else:
            raise ValueError(f"the statement of {exercise.id} has no list of the choices {list(exercise.options)}")
        found.parent.remove(found)
        for letter, item in zip(letters, found.children, strict=True):
            button = tag("input", type="radio", name="answer", value=json.dumps(letter), required="")
            form[0] += tag("label", button, tag("span", *item[0].children))

    def lead(self, pointer: nodes.reference, exercise: Exercise) -> None:
        label = f"sec:{pointer.attributes.pop('see')}"
        labels = self.env.domains["std"].data["labels"]
        if label in labels:
            page, anchor, _ = labels[label]
            pointer["refuri"] = f"{self.app.builder.get_relative_uri(self.env.docname, page)}#{anchor}"
        else:
            logger.warning("%s: the book has no label %r", exercise.id, label, location=pointer)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(Tag, html=(visit_tag, depart_tag))
    app.add_directive("hints", Hints)
    app.add_directive("predict", Prediction)
    app.add_directive("exercise-list", ExerciseList)
    app.add_post_transform(ShowForms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
