"""Find the calls of ``check`` in a learner's code, under whatever name and wherever they stand."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

_PACKAGE = "transformer_lib.exercises"
#: The name that stands for ``check`` where an answer is loaded.
CAPTURE = "__check__"


@dataclass(frozen=True)
class Call:
    """One call of ``check``.

    Attributes:
        node: the call.
        exercise: the id, or empty where it is not written there.
        answer: the second argument, or ``None`` where it is missing or hidden in a star.
        sure: whether the name that is called certainly means our ``check``.
    """

    node: ast.Call
    exercise: str
    answer: ast.expr | None
    sure: bool


@dataclass
class Names:
    """What a file has said so far about the names that matter. Feed it every top-level statement in order."""

    functions: set[str] = field(default_factory=set)  # they mean our `check`
    modules: set[str] = field(default_factory=set)  # they mean our package, or the one above it
    foreign: bool = False  # the file defines a `check` of its own
    texts: dict[str, str] = field(default_factory=dict)  # NAME = "id"

    def learn(self, statement: ast.stmt) -> None:
        """Take in a statement's imports and assignments, nested ones too."""
        for node in ast.walk(statement):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if node.module == _PACKAGE and alias.name in ("check", "*"):
                        self.functions.add(alias.asname or "check")
                    elif f"{node.module}.{alias.name}" == _PACKAGE:
                        self.modules.add(alias.asname or alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name == _PACKAGE:
                        self.modules.add(alias.asname or _PACKAGE)
                    elif alias.name == _PACKAGE.partition(".")[0]:
                        self.modules.add(f"{alias.asname or alias.name}.exercises")
            elif isinstance(node, ast.FunctionDef) and node.name == "check":
                self.foreign = True
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if not isinstance(target, ast.Name):
                        continue
                    if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                        self.texts[target.id] = node.value.value
                    elif self._means_check(node.value) is True:
                        self.functions.add(target.id)

    def _means_check(self, function: ast.expr) -> bool | None:
        """Whether an expression means our ``check``; ``None`` where it may."""
        if isinstance(function, ast.Name):
            return True if function.id in self.functions else None if function.id == "check" else False
        if isinstance(function, ast.Attribute) and function.attr == "check":
            return True if ast.unparse(function.value) in self.modules else None
        return False

    def calls(self, tree: ast.AST) -> Iterator[Call]:
        """The calls of ``check`` in a tree, in order."""
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            sure = self._means_check(node.func)
            if sure is False or (sure is None and self.foreign):
                continue
            given = dict(zip(("name", "answer"), node.args, strict=False))
            given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
            name, answer = given.get("name"), given.get("answer")
            starred = any(isinstance(one, ast.Starred) for one in node.args)
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                exercise = name.value
            else:
                exercise = self.texts.get(name.id, "") if isinstance(name, ast.Name) else ""
            fits = len(node.args) + len(node.keywords) == 2 and set(given) == {"name", "answer"} and not starred
            if sure or (fits and exercise):
                yield Call(node, exercise, answer if fits else None, bool(sure))

    def captured(self, tree: ast.stmt) -> ast.stmt:
        """A copy of a statement in which every call of ``check`` is one of :data:`CAPTURE`."""
        changed = copy.deepcopy(tree)
        for call in list(self.calls(changed)):
            call.node.func = ast.copy_location(ast.Name(CAPTURE, ast.Load()), call.node.func)
        return changed
