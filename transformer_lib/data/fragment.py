"""A fragment of Portuguese: a grammar that writes sentences in English and in Portuguese at once, without end.

    The book that you gave me was interesting.      O livro que você me deu era interessante.
    Did the girls sell the old bicycles?            As meninas venderam as bicicletas velhas?
    The queen bought a letter and we read it.       A rainha comprou uma carta e nós a lemos.

A translation has to make gender and number agree, across relative clauses too, to put adjectives where they belong,
to choose the tense and one of two verbs for *to be*, to move object pronouns before the verb and let them agree with
what they stand for, and to join prepositions with articles. Each English sentence has one translation here, so a
translation can be checked for being exactly right. Where English would leave a gender open (*teacher* is *professor*
or *professora*), the word is not used.

Words that depend on each other (a verb and its subject or object, an adjective and its noun) are *linked*. The split
``"combinations"`` holds links that training never shows, between words that it shows often. The splits ``"longer"``
and ``"deeper"`` hold sentences beyond the length, or the depth of clauses within clauses, of those in training. All
randomness comes from the caller's ``torch.Generator``.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, Literal, get_args

import torch

from transformer_lib.data.lexicon import FRAGMENT_NOUNS, Adjective, Gender, Kind, Noun, english_plural, pick
from transformer_lib.data.lexicon import portuguese_plural as plural_of
from transformer_lib.data.pairs import Pair
from transformer_lib.data.words import (
    AFTER,
    BEFORE,
    COMPLEMENT,
    DITRANSITIVE,
    INTRANSITIVE,
    LASTING,
    PASSING,
    STATES,
    TRANSITIVE,
    WANTING,
    Action,
    Tense,
    conjugate,
    gerund,
    participle,
)

FragmentSplit = Literal["train", "combinations", "longer", "deeper"]
Time = Literal["present", "past", "habitual", "future", "progressive", "past progressive"]

#: The most English words, and the most clauses within clauses, of a training sentence.
TRAIN_WORDS, TRAIN_DEPTH = 14, 2
MAX_WORDS = 24


def fragment_pairs(n: int, generator: torch.Generator, *, split: FragmentSplit = "train") -> list[Pair]:
    """Draw sentences with their translations.

    Args:
        n: how many, at least 1.
        generator: the source of all randomness.
        split: ``"train"``; ``"combinations"`` for sentences of the same size with an unseen link; ``"longer"`` for 15
            to 24 English words; ``"deeper"`` for a third clause within clauses. A sentence belongs to one split only.

    Returns:
        ``n`` pairs; one may occur twice.

    Raises:
        ValueError: ``n`` below 1, or an unknown split.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    if split not in get_args(FragmentSplit):
        raise ValueError(f"split must be one of {', '.join(get_args(FragmentSplit))}; got {split!r}")
    pairs: list[Pair] = []
    while len(pairs) < n:
        drawn = _Grammar(generator, rich=split in ("longer", "deeper")).sentence()
        if _split_of(drawn) == split:
            pairs.append(Pair(_capital(drawn.en), _capital(drawn.pt)))
    return pairs


@dataclass(frozen=True)
class _Phrase:
    """A stretch of both languages that grows into a sentence."""

    en: str
    pt: str
    links: frozenset[str] = frozenset()
    depth: int = 0  # clauses within clauses


@dataclass(frozen=True)
class _Subject(_Phrase):
    """What a verb agrees with."""

    noun: str = ""  # the English noun, for links; empty for a pronoun
    kind: Kind = "person"
    gender: Gender | None = None  # None where English does not tell
    slot: int = 1  # of the Portuguese verb: eu, ele, nós, eles
    third: bool = True  # whether the English verb ends in -s

    @property
    def plural(self) -> bool:
        return self.slot > 1


_I = _Subject("I", "eu", slot=0, third=False)
_YOU = _Subject("you", "você", third=False)
_HE = _Subject("he", "ele", gender="m")
_SHE = _Subject("she", "ela", gender="f")
_WE = _Subject("we", "nós", slot=2, third=False)
_THEY = _Subject("they", "eles", gender="m", slot=3, third=False)

_DETERMINERS_PT: dict[str, dict[Gender, str]] = {
    "the": {"m": "o", "f": "a"},
    "a": {"m": "um", "f": "uma"},
    "this": {"m": "este", "f": "esta"},
    "that": {"m": "aquele", "f": "aquela"},
    "my": {"m": "meu", "f": "minha"},
    "our": {"m": "nosso", "f": "nossa"},
    "your": {"m": "seu", "f": "sua"},
    "every": {"m": "cada", "f": "cada"},
    "which": {"m": "qual", "f": "qual"},
    "the_": {"m": "os", "f": "as"},
    "these": {"m": "estes", "f": "estas"},
    "those": {"m": "aqueles", "f": "aquelas"},
    "my_": {"m": "meus", "f": "minhas"},
    "our_": {"m": "nossos", "f": "nossas"},
    "your_": {"m": "seus", "f": "suas"},
    "some": {"m": "alguns", "f": "algumas"},
    "many": {"m": "muitos", "f": "muitas"},
    "two": {"m": "dois", "f": "duas"},
    "three": {"m": "três", "f": "três"},
    "another": {"m": "outro", "f": "outra"},
    "four": {"m": "quatro", "f": "quatro"},
    "five": {"m": "cinco", "f": "cinco"},
    "ten": {"m": "dez", "f": "dez"},
    "a lot of": {"m": "muitos", "f": "muitas"},
    "all the": {"m": "todos os", "f": "todas as"},
    "which_": {"m": "quais", "f": "quais"},
    "how many": {"m": "quantos", "f": "quantas"},
}
_SINGULAR = ("the", "the", "the", "the", "a", "a", "this", "that", "my", "our", "your", "every")
_PLURAL = (
    "the_",
    "the_",
    "the_",
    "the_",
    "these",
    "those",
    "my_",
    "our_",
    "your_",
    "some",
    "many",
    "two",
    "three",
    "all the",
)
_INDEFINITE = ("some", "many", "two", "three")
_DEFINITE = ("first", "last", "second", "other", "same", "best")  # adjectives that want an article

_JOINED = {
    "de": {"o": "do", "a": "da", "os": "dos", "as": "das", "ele": "dele", "ela": "dela", "eles": "deles"},
    "em": {"o": "no", "a": "na", "os": "nos", "as": "nas", "ele": "nele", "ela": "nela", "eles": "neles"},
    "por": {"o": "pelo", "a": "pela", "os": "pelos", "as": "pelas"},
    "a": {"o": "ao", "a": "à", "os": "aos", "as": "às"},
}
for _demonstrative in ("este", "esta", "estes", "estas", "aquele", "aquela", "aqueles", "aquelas"):
    _JOINED["de"][_demonstrative] = "d" + _demonstrative
    _JOINED["em"][_demonstrative] = "n" + _demonstrative
    if _demonstrative.startswith("aquel"):
        _JOINED["a"][_demonstrative] = "à" + _demonstrative[1:]

# English would leave the gender open, or two words would share a translation.
_NOUNS = tuple(noun for noun in FRAGMENT_NOUNS if noun.en != noun.counterpart.en)
_BY_KIND: dict[Kind, tuple[Noun, ...]] = {
    kind: tuple(noun for noun in _NOUNS if noun.kind == kind) for kind in get_args(Kind)
}
_MORE = ("beautiful", "famous", "mysterious", "charming", "modern", "interesting", "important", "expensive", "useful")
_COMPARED = tuple(adjective for adjective in AFTER["thing"] if adjective.en in _MORE)  # English says *more* with them


@dataclass(frozen=True)
class _Verbal:
    """A verb with its auxiliary and negation, before it meets its subject and objects."""

    en_aux: str  # before the subject in a question
    en_middle: str  # not, always, …
    en_main: str
    pt_before: str  # não, nunca, sempre
    pt_aux: str
    pt_main: str
    time: Time

    def english(self) -> str:
        return _words(self.en_aux, self.en_middle, self.en_main)

    def portuguese(self, clitic: str = "") -> str:
        """The clitic stands before the verb that carries the meaning."""
        return _words(self.pt_before, self.pt_aux, clitic, self.pt_main)


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _with(preposition: str, phrase: str) -> str:
    """Join a Portuguese preposition with the article that follows: *de* + *a casa* = *da casa*."""
    *before, last = preposition.split()
    first, *rest = phrase.split()
    joined = _JOINED.get(last, {}).get(first)
    return _words(*before, *([joined] if joined else [last, first]), *rest)


@cache
def _held_out(link: str) -> bool:
    return zlib.crc32(link.encode()) % 12 == 0


def _split_of(sentence: _Phrase) -> FragmentSplit | None:
    n_words = len(sentence.en.split())
    unseen = any(map(_held_out, sentence.links))
    if n_words <= TRAIN_WORDS and sentence.depth <= TRAIN_DEPTH:
        return "combinations" if unseen else "train"
    if unseen or n_words > MAX_WORDS:
        return None
    if sentence.depth <= TRAIN_DEPTH:
        return "longer"
    return "deeper" if sentence.depth == TRAIN_DEPTH + 1 else None


@dataclass
class _Grammar:
    """Writes one sentence; each method is a rule."""

    generator: torch.Generator
    rich: bool = False  # whether to like clauses and additions

    # The words; the everyday part knows more.
    nouns: ClassVar[Mapping[Kind, Sequence[Noun]]] = _BY_KIND
    adjectives: ClassVar[Mapping[Kind, Sequence[Adjective]]] = AFTER
    before: ClassVar[Sequence[Adjective]] = BEFORE
    transitive: ClassVar[Sequence[Action]] = TRANSITIVE
    intransitive: ClassVar[Sequence[Action]] = INTRANSITIVE
    singular: ClassVar[Sequence[str]] = _SINGULAR
    plural: ClassVar[Sequence[str]] = _PLURAL

    def chance(self, probability: float) -> bool:
        return float(torch.rand((), generator=self.generator)) < probability

    def one(self, choices: Sequence[Action]) -> Action:
        return pick(choices, self.generator)

    def sentence(self) -> _Phrase:
        clause = pick((self.statement, self.statement, self.statement, self.question), self.generator)()
        return clause

    # Nouns

    def noun(self, kind: Kind, *, depth: int = 0, determiners: str | None = None, verb: str = "") -> _Subject:
        """A noun with all that belongs to it; ``depth`` is how many more clauses it may hold."""
        noun = pick(self.nouns[kind], self.generator)
        plural = self.chance(0.35)
        links = {f"{verb} {noun.en}"} if verb else set()
        en, pt = noun.en, noun.pt
        if plural:
            en, pt = english_plural(en), plural_of(pt)
        definite = False
        if self.chance(0.25):
            adjective = pick(self.adjectives[kind], self.generator)
            links.add(f"{adjective.en} {noun.en}")
            en, pt = f"{adjective.en} {en}", f"{pt} {adjective.form(noun.gender, plural=plural)}"
        if determiners is None and self.chance(0.12):
            adjective = pick(self.before, self.generator)
            links.add(f"{adjective.en} {noun.en}")
            definite = adjective.en in _DEFINITE
            en, pt = f"{adjective.en} {en}", f"{adjective.form(noun.gender, plural=plural)} {pt}"
        determiner = pick(self.plural if plural else self.singular, self.generator)
        if determiners == "some":
            determiner = pick(_INDEFINITE, self.generator) if plural else "a"
        elif determiners is not None:
            determiner = determiners + "_" * (plural and determiners in ("the", "which"))
        elif definite:
            determiner = "the_" if plural else "the"
        article = determiner.rstrip("_")
        if article == "a" and en[0] in "aeiou" and not en.startswith(("useful", "university")):
            article = "an"
        en, pt = f"{article} {en}", f"{_DETERMINERS_PT[determiner][noun.gender]} {pt}"
        phrase = _Subject(
            en,
            pt,
            frozenset(links),
            noun=noun.en,
            kind=kind,
            gender=noun.gender,
            slot=3 if plural else 1,
            third=not plural,
        )
        if determiner.startswith("the") and not definite and self.chance(0.15):
            return self.owned(phrase)
        if depth and not determiner.startswith(("which", "how")) and self.chance(0.6 if self.rich else 0.35):
            return self.relative(phrase, depth - 1)
        return phrase

    def owned(self, noun: _Subject) -> _Subject:
        """*the book of the boy*, *his book*: what English puts before, Portuguese puts behind."""
        bare_en = noun.en.split(" ", 1)[1]
        if self.chance(0.4):
            en, pt = pick((("his", "dele"), ("her", "dela")), self.generator)
            return replace(noun, en=f"{en} {bare_en}", pt=f"{noun.pt} {pt}")
        owner = self.noun("person", determiners="the")
        if owner.plural or "that" in owner.en or "who" in owner.en:
            return noun
        return replace(
            noun,
            en=f"{owner.en}'s {bare_en}",
            pt=f"{noun.pt} {_with('de', owner.pt)}",
            links=noun.links | owner.links,
        )

    def subject(self, depth: int, *, verb: str = "") -> _Subject:
        """A person who does something; two at times."""
        if self.chance(0.3):
            return pick((_I, _YOU, _HE, _SHE, _WE), self.generator)
        first = self.noun("person", depth=depth, verb=verb)
        if depth == 0 and self.chance(0.1):
            second = self.noun("person", verb=verb)
            gender: Gender = "f" if (first.gender, second.gender) == ("f", "f") else "m"
            return _Subject(
                f"{first.en} and {second.en}",
                f"{first.pt} e {second.pt}",
                first.links | second.links,
                gender=gender,
                slot=3,
                third=False,
            )
        return first

    def relative(self, noun: _Subject, depth: int) -> _Subject:
        """The noun with a clause that says which one."""
        who = "who" if noun.kind == "person" else "that"
        rules = [self.object_relative, self.object_relative, self.copular_relative]
        if noun.kind == "person":
            rules += [self.subject_relative, self.subject_relative, self.whose_relative, self.with_relative]
        if noun.kind == "place":
            rules += [self.where_relative]
        clause = pick(rules, self.generator)(noun, who, depth)
        return replace(
            noun,
            en=f"{noun.en} {clause.en}",
            pt=f"{noun.pt} {clause.pt}",
            links=noun.links | clause.links,
            depth=max(noun.depth, clause.depth + 1),
        )

    def object_relative(self, noun: _Subject, who: str, depth: int) -> _Phrase:
        """*that the girl gave me*: the noun is the object, and its place stays empty."""
        if noun.kind in ("thing", "text", "animal", "food") and self.chance(0.4):
            giving = self.one([action for action in DITRANSITIVE if noun.kind in action.objects])
            subject = self.subject(depth, verb=giving.en)
            to_en, to_pt = pick(_recipients(subject), self.generator)
            verbal = self.verbal(giving, subject, _SIMPLE)
            tail = to_en
            links = {f"{giving.en} {noun.noun}"}
        else:
            action = self.one([action for action in self.transitive if noun.kind in action.objects])
            subject = self.subject(depth, verb=action.en)
            verbal, to_pt, tail = self.verbal(action, subject, _TIMES), "", ""
            links = {f"{action.en} {noun.noun}"}
        pronoun = subject in (_I, _YOU, _HE, _SHE, _WE)
        marker = "" if pronoun and self.chance(0.3) else who
        return _Phrase(
            _words(marker, subject.en, verbal.english(), tail),
            _words("que", subject.pt, verbal.portuguese(to_pt)),
            subject.links | links,
            subject.depth,
        )

    def subject_relative(self, noun: _Subject, who: str, depth: int) -> _Phrase:
        """*who bought the book*: the verb agrees with the noun."""
        predicate = self.predicate(replace(noun, depth=0), depth)
        return replace(predicate, en=f"{who} {predicate.en}", pt=f"que {predicate.pt}")

    def copular_relative(self, noun: _Subject, who: str, depth: int) -> _Phrase:
        """*that was interesting*."""
        predicate = self.quality(replace(noun, depth=0))
        return replace(predicate, en=f"{who} {predicate.en}", pt=f"que {predicate.pt}")

    def whose_relative(self, noun: _Subject, who: str, depth: int) -> _Phrase:
        """*whose sister bought the book*: *cujo* agrees with what is owned."""
        owned = self.noun("person", determiners="the")
        if " who " in owned.en or "'s " in owned.en or owned.en.startswith(("his ", "her ")):
            return self.copular_relative(noun, who, depth)
        whose = {("m", False): "cujo", ("f", False): "cuja", ("m", True): "cujos", ("f", True): "cujas"}
        predicate = self.predicate(replace(owned, links=frozenset(), depth=0), depth)
        en, pt = owned.en.split(" ", 1)[1], owned.pt.split(" ", 1)[1]
        return _Phrase(
            f"whose {en} {predicate.en}",
            f"{whose[owned.gender or 'm', owned.plural]} {pt} {predicate.pt}",
            owned.links | predicate.links,
            predicate.depth,
        )

    def with_relative(self, noun: _Subject, who: str, depth: int) -> _Phrase:
        """*with whom the girl danced*."""
        action = self.one([action for action in self.intransitive if action.en in _TOGETHER])
        subject = self.subject(depth, verb=action.en)
        verbal = self.verbal(action, subject, _TIMES)
        return _Phrase(
            _words("with whom", subject.en, verbal.english()),
            _words("com quem", subject.pt, verbal.portuguese()),
            subject.links,
            subject.depth,
        )

    def where_relative(self, noun: _Subject, who: str, depth: int) -> _Phrase:
        """*where the girl works*."""
        action = self.one([action for action in self.intransitive if action.en in _SOMEWHERE])
        subject = self.subject(depth, verb=action.en)
        verbal = self.verbal(action, subject, _TIMES)
        return _Phrase(
            _words("where", subject.en, verbal.english()),
            _words("onde", subject.pt, verbal.portuguese()),
            subject.links,
            subject.depth,
        )

    # Verbs

    def verbal(self, action: Action, subject: _Subject, times: tuple[Time, ...], *, question: bool = False) -> _Verbal:
        """A verb in some tense, affirmed or denied, agreeing with its subject."""
        time = pick(times, self.generator)
        if action.en in STATES and time.endswith("progressive"):
            time = "past"
        negative = not question and self.chance(0.12)
        simple = time in ("present", "past")
        if time == "present" and action.past == action.en and not subject.third and not negative:
            time = "past"  # *I read* could be either; here it is the past
        adverb = ""
        if simple and not negative and not question and self.chance(0.07):
            adverb = pick(("always", "never"), self.generator)
        return _Verbal(
            *_english_verb(action, subject, time, negative=negative, question=question, adverb=adverb),
            "não" if negative else {"": "", "always": "sempre", "never": "nunca"}[adverb],
            *_portuguese_verb(action, subject, time),
            time,
        )

    def predicate(self, subject: _Subject, depth: int) -> _Phrase:
        """What the subject does, without the subject."""
        rules = [
            self.acts,
            self.acts,
            self.acts,
            self.gives,
            self.gives,
            self.moves,
            self.quality,
            self.wants,
            self.affects,
        ]
        return pick(rules, self.generator)(subject, depth)

    def acts(self, subject: _Subject, depth: int) -> _Phrase:
        """*bought the book*."""
        action = self.one(self.transitive)
        verbal = self.verbal(action, subject, _TIMES)
        thing = self.noun(pick(action.objects, self.generator), depth=depth, verb=action.en)
        added = self.addition()
        return _Phrase(
            _words(verbal.english(), thing.en, added.en),
            _words(verbal.portuguese(), thing.pt, added.pt),
            thing.links | self.linked(action, subject) | added.links,
            thing.depth,
        )

    def gives(self, subject: _Subject, depth: int) -> _Phrase:
        """*gave me the book*, *gave the girl the book*, *gave the book to the girl*."""
        action = self.one(DITRANSITIVE)
        thing = self.noun(pick(action.objects, self.generator), depth=depth, verb=action.en)
        links = thing.links | self.linked(action, subject)
        if self.chance(0.5):
            en, pt = pick(_recipients(subject), self.generator)
            verbal = self.verbal(action, subject, _TIMES)
            return _Phrase(
                _words(verbal.english(), en, thing.en), _words(verbal.portuguese(pt), thing.pt), links, thing.depth
            )
        verbal = self.verbal(action, subject, _TIMES)
        person = self.noun("person")
        pt = _words(verbal.portuguese(), thing.pt, _with("a", person.pt))
        en = _words(verbal.english(), thing.en, "to", person.en)
        if self.chance(0.4) and not thing.depth:
            en = _words(verbal.english(), person.en, thing.en)
        return _Phrase(en, pt, links | person.links, max(thing.depth, person.depth))

    def moves(self, subject: _Subject, depth: int) -> _Phrase:
        """*is dancing in the garden*."""
        action = self.one(self.intransitive)
        verbal, added = self.verbal(action, subject, _TIMES), self.addition(0.6)
        return _Phrase(
            _words(verbal.english(), added.en),
            _words(verbal.portuguese(), added.pt),
            added.links | self.linked(action, subject),
        )

    def affects(self, subject: _Subject, depth: int) -> _Phrase:
        """*saw her*: the pronoun moves before the verb."""
        action = self.one([action for action in self.transitive if "person" in action.objects])
        en, pt = pick([(en, pt) for en, pt in _CLITICS if en not in _OWN.get(subject.en, ())], self.generator)
        verbal = self.verbal(action, subject, _FINITE)
        return _Phrase(_words(verbal.english(), en), _words(verbal.portuguese(pt)), self.linked(action, subject))

    def wants(self, subject: _Subject, depth: int) -> _Phrase:
        """*wants to buy the book*, *can buy the book*."""
        action = self.one(self.transitive)
        thing = self.noun(pick(action.objects, self.generator), depth=depth, verb=action.en)
        negative = self.chance(0.15)
        if self.chance(0.4):
            en, pt = pick((("can", "poder"), ("must", "dever")), self.generator)
            en_verb = _words(en, "not" if negative else "")
            en_verb = {"can not": "cannot"}.get(en_verb, en_verb)
            pt_verb = conjugate(pt, "present", subject.slot)
        else:
            wanting = self.one(WANTING)
            present = wanting.en in ("want to", "need to") and self.chance(0.5)
            time: Time = "present" if present else "past"
            aux, middle, main = _english_verb(wanting, subject, time, negative=negative, question=False, adverb="")
            en_verb = _words(aux, middle, main)
            # A wish that lasted is told in the imperfect.
            tense: Tense = "present" if present else "habitual" if wanting.en in ("want to", "need to") else "past"
            pt_verb = conjugate(wanting.pt, tense, subject.slot)
        return _Phrase(
            _words(en_verb, action.en, thing.en),
            _words("não" if negative else "", pt_verb, action.pt, thing.pt),
            thing.links | self.linked(action, subject),
            thing.depth,
        )

    def quality(self, subject: _Subject, depth: int = 0, *, inverted: bool = False) -> _Phrase:
        """*was interesting*; *is more interesting than the letter*. ``inverted`` leaves a mark for the subject."""
        if subject.gender is None:
            adjective = pick([a for a in self.adjectives["person"] if a.masculine == a.feminine], self.generator)
        else:
            adjective = pick(self.adjectives[subject.kind], self.generator)
        passing = adjective.en in PASSING
        be = "estar" if passing else "ser"
        word = adjective.form(subject.gender or "m", plural=subject.plural)
        links = frozenset({f"{adjective.en} {subject.noun}"}) if subject.noun else frozenset()
        time = pick(("present", "past", "past", "future", "seem"), self.generator)
        negative = not inverted and self.chance(0.12)
        if time == "seem" and not inverted:
            seem = Action("seem", "seemed", "seemed", "parecer", ())
            aux, middle, main = _english_verb(seem, subject, "past", negative=negative, question=False, adverb="")
            en, pt = _words(aux, middle, main), conjugate("parecer", "habitual", subject.slot)
        elif time == "future":
            en, pt = _words("will", "not" if negative else "", "be"), f"{conjugate('ir', 'present', subject.slot)} {be}"
        else:
            present = time == "present"
            en = _words(_be(subject, past=not present), "not" if negative else "")
            pt = conjugate(be, "present" if present else "habitual", subject.slot)
        if inverted:
            first, *rest = en.split()
            en = _words(first, "{}", *rest)
        pt = _words("não" if negative else "", pt)
        if adjective in _COMPARED and subject.kind in ("thing", "text") and self.chance(0.4):
            other = self.noun(subject.kind)
            comparison = self.chance(0.6)
            en_more, pt_more = ("more {} than", "mais {} do que") if comparison else ("as {} as", "tão {} quanto")
            return _Phrase(
                _words(en, en_more.format(adjective.en), other.en),
                _words(pt, pt_more.format(word), other.pt),
                links | other.links,
                other.depth,
            )
        return _Phrase(_words(en, adjective.en), _words(pt, word), links)

    def addition(self, probability: float = 0.25) -> _Phrase:
        """*in the garden*, *with the girl*, *near the school*; or nothing."""
        if not self.chance(0.7 if self.rich else probability):
            return _Phrase("", "")
        pt = pick(("em", "perto de", "com"), self.generator)
        noun = self.noun("person" if pt == "com" else "place")
        en = {"em": _in(noun), "perto de": "near", "com": "with"}[pt]
        return _Phrase(f"{en} {noun.en}", _with(pt, noun.pt), noun.links)

    def linked(self, action: Action, subject: _Subject) -> frozenset[str]:
        return frozenset({f"{subject.noun} {action.en}"}) if subject.noun else frozenset()

    # Sentences

    def depth(self) -> int:
        return 3 if self.rich else 2

    def statement(self) -> _Phrase:
        rules = [self.plain, self.plain, self.plain, self.plain, self.thing_is, self.thing_is, self.passive, self.twice,
                 self.reported, self.there_is]  # fmt: skip
        clause = pick(rules, self.generator)()
        return replace(clause, en=clause.en + ".", pt=clause.pt + ".")

    def plain(self, depth: int | None = None) -> _Phrase:
        """A person does something."""
        depth = self.depth() if depth is None else depth
        subject = self.subject(depth if self.chance(0.5) else 0)
        predicate = self.predicate(subject, max(0, depth - subject.depth))
        return _join(subject, predicate)

    def thing_is(self, depth: int | None = None) -> _Phrase:
        """As in *The book that you gave me was interesting*."""
        kind = pick(get_args(Kind), self.generator)
        subject = self.noun(kind, depth=self.depth() if depth is None else depth)
        return _join(subject, self.quality(subject))

    def passive(self, depth: int | None = None) -> _Phrase:
        """*The letter was written by the girl*: the participle agrees."""
        action = self.one(
            [action for action in self.transitive if " " not in action.en and action.en not in _NOT_PASSIVE]
        )
        thing = self.noun(pick(action.objects, self.generator), verb=action.en, depth=1)
        agent = self.noun("person", depth=0 if depth == 0 else 1, verb=action.en)
        future = self.chance(0.2)
        en = "will be" if future else _be(thing, past=True)
        form = participle(action.pt).form(thing.gender or "m", plural=thing.plural)
        ser = conjugate("ir", "present", thing.slot) + " ser" if future else conjugate("ser", "past", thing.slot)
        return _Phrase(
            _words(thing.en, en, action.en_participle, "by", agent.en),
            _words(thing.pt, ser, form, _with("por", agent.pt)),
            thing.links | agent.links,
            max(thing.depth, agent.depth),
        )

    def twice(self) -> _Phrase:
        """*The boy bought the letter and the girl read it*: the pronoun agrees with what it stands for."""
        first = self.one(
            [action for action in self.transitive if set(action.objects) & {"text", "thing", "food", "animal"}]
        )
        kind = pick([kind for kind in first.objects if kind not in ("person", "place")], self.generator)
        second = self.one([action for action in self.transitive if kind in action.objects])
        agent, other = self.subject(0, verb=first.en), self.subject(0, verb=second.en)
        thing = self.noun(kind, depth=1 if self.rich else 0, verb=first.en)
        one, two = self.verbal(first, agent, ("past",)), self.verbal(second, other, ("past",))
        en_it = "them" if thing.plural else "it"
        pt_it = {"m": "o", "f": "a"}[thing.gender or "m"] + "s" * thing.plural
        en_and, pt_and = pick(((" and", " e"), (", but", ", mas")), self.generator)
        return _Phrase(
            _words(agent.en, one.english(), thing.en + en_and, other.en, two.english(), en_it),
            _words(agent.pt, one.portuguese(), thing.pt + pt_and, other.pt, two.portuguese(pt_it)),
            agent.links | other.links | thing.links | {f"{second.en} {thing.noun}"},
            max(agent.depth, other.depth, thing.depth),
        )

    def reported(self) -> _Phrase:
        """As in *The boy said that the book was interesting*."""
        action = self.one(COMPLEMENT)
        subject = self.subject(0, verb=action.en)
        depth = self.depth() - 1
        clause = pick((self.plain, self.thing_is), self.generator)(depth)
        verbal = self.verbal(action, subject, ("past",))
        return _Phrase(
            _words(subject.en, verbal.english(), "that", clause.en),
            _words(subject.pt, verbal.portuguese(), "que", clause.pt),
            subject.links | clause.links,
            clause.depth + 1,
        )

    def there_is(self) -> _Phrase:
        """As in *There are two books in the school*."""
        thing = self.noun(pick(("thing", "text", "food", "animal", "person"), self.generator), determiners="some")
        place = self.noun("place", depth=1)
        past = self.chance(0.4)
        return _Phrase(
            _words("there", _be(thing, past=past), thing.en, _in(place), place.en),
            _words("havia" if past else "há", thing.pt, _with("em", place.pt)),
            thing.links | place.links,
            max(thing.depth, place.depth),
        )

    def question(self) -> _Phrase:
        rules = [self.whether, self.whether, self.adverbial, self.who_did, self.what_object, self.is_it, self.where_is]
        clause = pick(rules, self.generator)()
        return replace(clause, en=clause.en + "?", pt=clause.pt + "?")

    def asked(self) -> tuple[_Phrase, _Phrase]:
        """A clause with its auxiliary before the subject, and what follows the verb."""
        action = self.one(self.transitive)
        subject = self.subject(1 if self.chance(0.3) else 0, verb=action.en)
        verbal = self.verbal(action, subject, _TIMES, question=True)
        core = _Phrase(
            _words(verbal.en_aux, subject.en, verbal.en_middle, verbal.en_main),
            _words(subject.pt, verbal.portuguese()),
            subject.links,
            subject.depth,
        )
        return core, self.noun(pick(action.objects, self.generator), depth=self.depth() - 1, verb=action.en)

    def whether(self) -> _Phrase:
        """*Did the girl buy the book?*: Portuguese only changes the mark."""
        core, thing = self.asked()
        return _join(core, thing)

    def adverbial(self) -> _Phrase:
        """As in *Where did the girl buy the book*?"""
        word = pick((("where", "onde"), ("when", "quando"), ("why", "por que")), self.generator)
        return _join(_Phrase(*word), self.whether())

    def who_did(self) -> _Phrase:
        """As in *Who bought the book*?"""
        predicate = self.predicate(_HE, self.depth() - 1)
        return _join(_Phrase("who", "quem"), predicate)

    def what_object(self) -> _Phrase:
        """As in *What did the girl buy*, *Which books did the girl buy*, *How many books did the girl buy*?"""
        action = self.one(
            [action for action in self.transitive if "thing" in action.objects or "text" in action.objects]
        )
        subject = self.subject(1, verb=action.en)
        verbal = self.verbal(action, subject, _TIMES, question=True)
        core = _Phrase(
            _words(verbal.en_aux, subject.en, verbal.en_middle, verbal.en_main),
            _words(subject.pt, verbal.portuguese()),
            subject.links,
            subject.depth,
        )
        kind = pick([kind for kind in action.objects if kind in ("thing", "text", "food")], self.generator)
        what = _Phrase("what", "o que")
        if self.chance(0.7):
            thing = self.noun(kind, determiners="which", verb=action.en)
            if thing.plural and self.chance(0.5):
                many = _DETERMINERS_PT["how many"][thing.gender or "m"]
                thing = replace(
                    thing, en="how many " + thing.en.split(" ", 1)[1], pt=many + " " + thing.pt.split(" ", 1)[1]
                )
            what = thing
        return _join(what, core)

    def is_it(self) -> _Phrase:
        """As in *Was the book interesting*?"""
        subject = self.noun(pick(get_args(Kind), self.generator), depth=1)
        quality = self.quality(subject, inverted=True)
        return _Phrase(
            quality.en.format(subject.en),
            _words(subject.pt, quality.pt),
            subject.links | quality.links,
            max(subject.depth, quality.depth),
        )

    def where_is(self) -> _Phrase:
        """*Where is the book that you gave me?*: where something is, *estar* says."""
        thing = self.noun(
            pick(("thing", "text", "animal", "person"), self.generator), depth=self.depth(), determiners="the"
        )
        past = self.chance(0.3)
        be = conjugate("estar", "habitual" if past else "present", thing.slot)
        return _Phrase(
            _words("where", _be(thing, past=past), thing.en), _words("onde", be, thing.pt), thing.links, thing.depth
        )


_FINITE: tuple[Time, ...] = ("past", "past", "past", "present", "habitual")  # one word in Portuguese
_SIMPLE: tuple[Time, ...] = (*_FINITE, "future")
_TIMES: tuple[Time, ...] = (*_SIMPLE, "progressive", "past progressive")
_TOGETHER = ("run", "dance", "sing", "work", "travel", "swim", "play", "speak", "leave", "return")
_SOMEWHERE = ("sleep", "run", "dance", "sing", "work", "swim", "play", "rest", "fall")
_NOT_PASSIVE = ("call", "know", "see", "take", "have", "want", "like", "understand")
_CLITICS = (("me", "me"), ("us", "nos"), ("him", "o"), ("her", "a"))
_OWN = {
    "I": ("me", "us"),
    "we": ("us", "me"),
    "he": ("him",),
    "she": ("her",),
    "you": ("you",),
    "they": ("them",),
}  # that would be *myself*, …


def _recipients(subject: _Subject) -> list[tuple[str, str]]:
    """Who receives, as the pronoun before the Portuguese verb."""
    pairs = (("me", "me"), ("us", "nos"), ("him", "lhe"), ("her", "lhe"))
    return [(en, pt) for en, pt in pairs if en not in _OWN.get(subject.en, ())]


def _in(place: _Subject) -> str:
    return "on" if place.noun in ("bridge", "island", "mountain", "beach", "farm") else "in"


def _join(first: _Phrase, second: _Phrase) -> _Phrase:
    return _Phrase(
        _words(first.en, second.en),
        _words(first.pt, second.pt),
        first.links | second.links,
        max(first.depth, second.depth),
    )


def _be(subject: _Subject, *, past: bool) -> str:
    if subject.en == "I":
        return "was" if past else "am"
    return ("was" if past else "is") if subject.third else ("were" if past else "are")


def _english_verb(
    action: Action, subject: _Subject, time: Time, *, negative: bool, question: bool, adverb: str
) -> tuple[str, str, str]:
    """Auxiliary, what stands behind it, and the main verb."""
    middle = "not" if negative else adverb
    if time == "future":
        return "will", middle, action.en
    if time in ("progressive", "past progressive"):
        return _be(subject, past=time == "past progressive"), middle, action.ing
    if negative or question:
        aux = "did" if time != "present" else "does" if subject.third else "do"
        return aux, middle, f"use to {action.en}" if time == "habitual" else action.en
    main = {"habitual": f"used to {action.en}", "past": action.past}.get(
        time, action.third if subject.third else action.en
    )
    return "", middle, main


def _portuguese_verb(action: Action, subject: _Subject, time: Time) -> tuple[str, str]:
    """Auxiliary and main verb."""
    if time == "future":
        return conjugate("ir", "present", subject.slot), action.pt
    if time in ("progressive", "past progressive"):
        be = conjugate("estar", "habitual" if time == "past progressive" else "present", subject.slot)
        return be, gerund(action.pt)
    if time == "habitual":
        return "", conjugate(action.pt, "habitual", subject.slot)
    tense: Tense = "present" if time == "present" else "habitual" if action.pt in LASTING else "past"
    return "", conjugate(action.pt, tense, subject.slot)
