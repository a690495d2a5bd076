"""Break the published solutions in many small ways, and see whether the checker notices.

    python -m tools.mutations                  every mutant of every solution that is code (some twenty minutes)
    python -m tools.mutations scaled-window    of one exercise

A mutant is a solution with one change: another operator, another axis or number, a call or a statement left out, two
arguments exchanged. The checker should accept none that behaves otherwise. An accepted mutant is compared with the
solution on many further inputs; where they agree on all of them it is printed, for a person to judge. Of the others it
is counted how much the checker tells: which mistake it is, which property is broken, an exception or a wrong form, or
no more than the smallest input that fails. The changes that are told no more are printed, the most frequent first.
"""

import ast
import copy
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises import examine, exercises, find
from transformer_lib.exercises.engine import isolation, reading
from transformer_lib.exercises.engine.exercise import Implement
from transformer_lib.exercises.engine.reading import Answer
from transformer_lib.exercises.engine.report import Report, Tier
from transformer_lib.exercises.engine.running import calls_of, outcome_of

ROOT = Path(__file__).parent.parent
#: Beyond those that a learner gets: the seeds of the inputs on which an accepted mutant is compared.
FURTHER_SEEDS = range(1, 16)
SECONDS = 8.0

_OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult, ast.Div),
    ast.Mod: (ast.FloorDiv,),
    ast.MatMult: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
#: Names of functions and methods that take each other's places.
_PAIRS = (
    ("min", "max"), ("amin", "amax"), ("sum", "mean"), ("tril", "triu"), ("argmax", "argmin"), ("sin", "cos"),
    ("zeros", "ones"), ("zeros_like", "ones_like"), ("cat", "stack"), ("any", "all"), ("var", "std"),
    ("softmax", "sigmoid"), ("log_softmax", "softmax"), ("sqrt", "abs"), ("exp", "abs"), ("log", "abs"),
    ("rsqrt", "sqrt"), ("cumsum", "cumprod"), ("relu", "sigmoid"), ("unsqueeze", "squeeze"), ("size", "dim"),
    ("sorted", "list"), ("argsort", "argmax"), ("clamp_min", "clamp_max"), ("repeat_interleave", "tile"),
    ("floor", "ceil"), ("append", "remove"),
)  # fmt: skip
_NAMES = {one: other for pair in _PAIRS for one, other in (pair[::-1], pair)}


@dataclass(frozen=True)
class Mutant:
    """A solution with one change, and the change in words."""

    node: ast.stmt
    change: str


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: rejected, or accepted although it behaves otherwise, or accepted and equal."""

    mutant: Mutant
    how: str  # the checker's verdict
    equal: bool  # on all further inputs; meaningless where it was rejected
    report: Report | None = None  # what the checker said, where it came so far

    @property
    def tier(self) -> Tier:
        return "form" if self.report is None else self.report.tier

    @property
    def missed(self) -> bool:
        return self.how == "passed" and not self.equal


def solution(exercise: Implement) -> Answer:
    path = ROOT / "chapters" / f"{CHAPTERS[exercise.chapter].file}.ipynb"
    return next(answer for answer in reading.solutions(path) if answer.exercise == exercise.id)


def mutants(node: ast.stmt) -> Iterator[Mutant]:
    """Every single change of a definition."""
    for index, site in enumerate(ast.walk(node)):
        for change, make in _changes(site):
            whole = copy.deepcopy(node)
            target = list(ast.walk(whole))[index]
            before = ast.unparse(target)[:60] if not isinstance(target, ast.FunctionDef) else target.name
            new = make(target)
            if new is not None and not _replace(whole, target, new):
                continue
            try:
                ast.fix_missing_locations(whole)
                compile(ast.Module([whole], []), "<mutant>", "exec")
            except (SyntaxError, TypeError, ValueError):
                continue
            if ast.dump(whole) != ast.dump(node):
                line = getattr(target, "lineno", "?")
                yield Mutant(whole, f"line {line}: {change}: {before}")


def _changes(site: ast.AST) -> Iterator[tuple[str, Callable[[Any], ast.AST | None]]]:
    """Changes of one node: a function that alters it in place (and returns None) or makes its replacement."""
    kind = type(site)
    for other in _OPERATORS.get(kind, ()):
        yield f"{kind.__name__} becomes {other.__name__}", partial(_made, other)
    if isinstance(site, ast.UnaryOp):
        yield "sign or not left out", lambda n: n.operand
    if isinstance(site, ast.Constant):
        value = site.value
        if isinstance(value, bool):
            yield "turned round", lambda n: ast.Constant(not n.value)
        elif isinstance(value, int):
            yield "one more", lambda n: ast.Constant(n.value + 1)
            yield "one less", lambda n: ast.Constant(n.value - 1)
        elif isinstance(value, float):
            yield "doubled", lambda n: ast.Constant(2 * n.value if n.value else 1.0)
    if isinstance(site, ast.Call):
        if isinstance(site.func, ast.Attribute):
            yield "call left out", lambda n: n.func.value
        elif site.args:
            yield "call left out", lambda n: n.args[0]
        if len(site.args) >= 2:
            yield "arguments exchanged", lambda n: n.args.__setitem__(slice(0, 2), n.args[1::-1])
        for number in range(len(site.keywords)):
            yield "keyword left out", partial(_without_keyword, number)
    if isinstance(site, ast.Attribute) and site.attr in _NAMES:
        yield f"becomes {_NAMES[site.attr]}", lambda n: setattr(n, "attr", _NAMES[n.attr])
    if isinstance(site, ast.Name) and isinstance(site.ctx, ast.Load) and site.id in _NAMES:
        yield f"becomes {_NAMES[site.id]}", lambda n: setattr(n, "id", _NAMES[n.id])
    if isinstance(site, ast.IfExp):
        yield "always", lambda n: n.body
        yield "never", lambda n: n.orelse
    if isinstance(site, ast.If | ast.While):
        yield "condition turned round", lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
        if isinstance(site, ast.If):
            yield "always", lambda n: setattr(n, "test", ast.Constant(True))
    if isinstance(site, ast.Assign | ast.AugAssign | ast.If | ast.Raise) or (
        isinstance(site, ast.Expr) and isinstance(site.value, ast.Call)
    ):
        yield "left out", lambda n: ast.Pass()
    if isinstance(site, ast.Return) and isinstance(site.value, ast.Tuple):
        yield "results exchanged", lambda n: n.value.elts.reverse()
    if isinstance(site, ast.Slice):
        if site.lower is not None:
            yield "lower bound left out", lambda n: setattr(n, "lower", None)
        if site.upper is not None:
            yield "upper bound left out", lambda n: setattr(n, "upper", None)
    if isinstance(site, ast.FunctionDef):
        names = [argument.arg for argument in site.args.args if argument.arg != "self"]
        for name, taken in zip(names, names[1:] + names[:1], strict=True):
            if name != taken:
                yield f"{name} is taken for {taken}", partial(_rename, name, taken)


def _made(kind: type[ast.AST], site: ast.AST) -> ast.AST:
    return kind()


def _without_keyword(number: int, call: ast.Call) -> None:
    del call.keywords[number]


def _rename(one: str, other: str, function: ast.FunctionDef) -> None:
    """The first use of one argument becomes another."""
    for node in ast.walk(ast.Module(function.body, [])):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id == one:
            node.id = other
            return


def _replace(whole: ast.AST, target: ast.AST, new: ast.AST) -> bool:
    for parent in ast.walk(whole):
        if isinstance(parent, ast.JoinedStr | ast.Raise):
            continue  # the words of a message are nobody's behavior
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list"):
                continue
            if value is target:
                setattr(parent, field, new)
                return True
            if isinstance(value, list) and any(item is target for item in value):
                value[next(i for i, item in enumerate(value) if item is target)] = new
                return True
    return False


def campaign(exercise: Implement, at_most: int | None = None) -> list[Verdict]:
    """Try the mutants of an exercise's solution, or a sample of them that is the same every time."""
    answer = solution(exercise)
    assert answer.expression is not None
    names = {node.id for node in ast.walk(answer.expression) if isinstance(node, ast.Name)}
    named = [
        one
        for one in answer.statements
        if isinstance(one.node, ast.FunctionDef | ast.ClassDef) and one.node.name in names
    ]
    files = {one.file for one in named}
    own = [
        one for one in answer.statements if one.file in files and isinstance(one.node, ast.FunctionDef | ast.ClassDef)
    ]
    # A function that the chapter gave may stand in an earlier cell; only the solution's own cell is broken.
    tried = [(one, mutant) for one in own for mutant in mutants(one.node)]
    if at_most is not None and len(tried) > at_most:
        tried = random.Random(exercise.id).sample(tried, at_most)
    right = answer.load()
    limited = replace(exercise, seconds=SECONDS)

    verdicts = []
    for one, mutant in tried:

        def work(mark: isolation.Mark, one: Any = one, mutant: Mutant = mutant) -> tuple[str, bool, Report | None]:
            changed = [replace(s, node=mutant.node) if s is one else s for s in answer.statements]
            try:
                wrong = replace(answer, statements=tuple(changed)).load()
            except Exception as error:
                return type(error).__name__, False, None
            report = examine(limited, wrong, isolated=False)
            passed = report.verdict == "passed"
            return report.verdict, passed and _equal(exercise, right, wrong), report

        ended = isolation.run(work, SECONDS)
        verdicts.append(Verdict(mutant, *(ended.value if ended.value is not None else (ended.how, False, None))))
    return verdicts


def _equal(exercise: Implement, right: Any, wrong: Any) -> bool:
    """Whether two answers agree on inputs that the checker did not try."""
    for seed in FURTHER_SEEDS:
        for one in calls_of(exercise, seed):
            if outcome_of(exercise, right, one).versus(outcome_of(exercise, wrong, one), exercise.atol) is not None:
                return False
    return True


def main() -> None:
    chosen = [find(name) for name in sys.argv[1:]] or list(exercises().values())
    rejected = accepted = missed = 0
    tiers: Counter[str] = Counter()
    untold: Counter[str] = Counter()
    for exercise in chosen:
        if not isinstance(exercise, Implement):
            continue
        verdicts = campaign(exercise)
        rejected += sum(one.how != "passed" for one in verdicts)
        accepted += sum(one.how == "passed" for one in verdicts)
        missed += sum(one.missed for one in verdicts)
        noticed = sum(one.how != "passed" for one in verdicts)
        told: Counter[str] = Counter(one.tier for one in verdicts if one.how not in ("passed", "todo"))
        tiers += told
        untold.update(_sort(one) for one in verdicts if one.how == "differs" and one.tier == "input")
        print(f"{exercise.id}: {len(verdicts)} mutants, {noticed} rejected; {_shares(told)}", flush=True)
        for one in verdicts:
            if one.how in ("passed", "todo"):
                print(f"    {'MISSED' if one.missed else one.how}  {one.mutant.change}", flush=True)
            elif one.how == "differs" and one.tier == "input":
                print(f"    untold  {one.mutant.change}", flush=True)
    changed = rejected + missed
    print(f"{rejected + accepted} mutants; {accepted - missed} equal; {rejected} of the {changed} others rejected")
    print(f"score {100 * rejected / max(changed, 1):.2f} %; {_shares(tiers)}")
    for change, count in untold.most_common(30):
        print(f"{count:5} × told no more than the input: {change}")


def _shares(told: Counter[str]) -> str:
    return ", ".join(f"{tier} {100 * told[tier] / max(told.total(), 1):.0f} %" for tier in get_args(Tier))


def _sort(one: Verdict) -> str:
    """A change without its line."""
    return one.mutant.change.partition(": ")[2]


if __name__ == "__main__":
    main()
