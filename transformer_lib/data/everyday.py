"""The everyday part of the fragment: what people try first when they see a translator.

    I don't like cold coffee.               Eu não gosto de café frio.
    She is going to the beach tomorrow.     Ela vai para a praia amanhã.
    Please don't close the door.            Por favor, não feche a porta.

It has more words than the fragment (:mod:`transformer_lib.data.fragment`), names of persons and places, things that are
not counted, *have*, *like* and other verbs whose object takes a preposition in Portuguese, *going to*, the perfect,
imperatives, contractions, times of day and of the week, and short utterances that are learned as a whole. Where English
leaves a gender open (*teacher*, *I am tired*, *they*), the translation is masculine, as Portuguese says it of a person
unknown.

The rules are those of the fragment and some more. Its sentences hold no link that the fragment holds out of training.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch

from transformer_lib.data.fragment import (
    _BY_KIND,
    _CLITICS,
    _HE,
    _I,
    _OWN,
    _SHE,
    _THEY,
    _WE,
    _YOU,
    TRAIN_WORDS,
    Time,
    _be,
    _capital,
    _english_verb,
    _Grammar,
    _in,
    _join,
    _Phrase,
    _split_of,
    _Subject,
    _Verbal,
    _with,
    _words,
)
from transformer_lib.data.lexicon import ALL_NOUNS, FRAGMENT_NOUNS, Adjective, Gender, Kind, Noun, english_plural, pick
from transformer_lib.data.lexicon import portuguese_plural as plural_of
from transformer_lib.data.pairs import Pair
from transformer_lib.data.phrases import (
    COMPARATIVES,
    CONTRACTIONS,
    FAVORITES,
    FEELINGS,
    FIXED_SUBJECTS,
    HOURS,
    MANNERS,
    MODALS,
    NAMES,
    OBJECTS,
    PERSONS,
    PLACES,
    QUALITIES,
    SCHEDULES,
    SPOTS,
    SURFACES,
    TIMES,
    TOGETHER,
    UNCOUNTED,
    UTTERANCES,
    WAYS,
    Stuff,
)
from transformer_lib.data.words import (
    AFTER,
    DITRANSITIVE,
    EVERYDAY_INTRANSITIVE,
    EVERYDAY_TRANSITIVE,
    EVERYDAY_WANTING,
    INTRANSITIVE,
    LASTING,
    MOTION,
    PASSING,
    PREPOSITIONAL,
    TRANSITIVE,
    Action,
    Tense,
    conjugate,
    imperative,
)


def everyday_pairs(n: int, generator: torch.Generator) -> list[Pair]:
    """Draw everyday sentences with their translations.

    Args:
        n: how many, at least 1.
        generator: the source of all randomness.

    Returns:
        ``n`` pairs of at most 14 English words, none of :func:`everyday_test`; one may occur twice.

    Raises:
        ValueError: ``n`` below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    held_out = {_plain(english) for english, _ in everyday_test()}
    pairs: list[Pair] = []
    while len(pairs) < n:
        drawn = _Everyday(generator).sentence()
        if _split_of(drawn) == "train" and _plain(drawn.en) not in held_out:
            pairs.append(Pair(_capital(drawn.en), _capital(drawn.pt)))
    return pairs


def _plain(english: str) -> str:
    """What two sentences share that count as one: *I am late.*, *i'm late!*."""
    english = english.lower()
    for whole, short in CONTRACTIONS:
        english = english.replace(whole.lower(), short.lower())
    return re.sub(r"[^a-z ]", "", english)


def everyday_test() -> list[tuple[str, tuple[str, ...]]]:
    """Read the everyday sentences that a person wrote to judge translators, none of them from a rule.

    Returns:
        Each English sentence, with all translations that count as right.
    """
    lines = (Path(__file__).parent / "everyday.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return [(english, tuple(accepted)) for english, *accepted in rows]


@dataclass(frozen=True)
class _Deed:
    """What is done, before it has a subject and a tense: *give* … *me the book*, *dar* … *me* … *o livro*."""

    action: Action
    en: str = ""
    pt: str = ""
    clitic: str = ""  # the pronoun before the Portuguese verb
    links: frozenset[str] = field(default_factory=frozenset)
    depth: int = 0
    somewhere: bool = False  # whether it tells of a place already


_OPEN = tuple(noun for noun in FRAGMENT_NOUNS if noun.en == noun.counterpart.en and noun.gender == "m")
_NEW = tuple(
    noun
    for noun in ALL_NOUNS[len(FRAGMENT_NOUNS) :]
    if noun.gender == "m" or noun.en != noun.counterpart.en  # where English leaves the gender open, the masculine
)
_PERSONS = (_I, _I, _YOU, _YOU, _HE, _SHE, _WE, _THEY)


@dataclass
class _Everyday(_Grammar):
    """Writes one everyday sentence; each method is a rule."""

    nouns: ClassVar = {kind: _BY_KIND[kind] + tuple(n for n in (*_OPEN, *_NEW) if n.kind == kind) for kind in _BY_KIND}
    adjectives: ClassVar = {kind: AFTER[kind] + QUALITIES[kind] for kind in AFTER}
    before: ClassVar = (*_Grammar.before, Adjective("melhor", "melhor", "best"))
    transitive: ClassVar = TRANSITIVE + EVERYDAY_TRANSITIVE
    intransitive: ClassVar = INTRANSITIVE + EVERYDAY_INTRANSITIVE
    singular: ClassVar = (*_Grammar.singular, *("the", "a", "my", "my", "your") * 2, "another")
    plural: ClassVar = (*_Grammar.plural, "the_", "my_", "my_", "your_", "four", "five", "ten", "a lot of")

    asking: bool = False  # whether the sentence is a question, where English says *any*

    def sentence(self) -> _Phrase:
        """A rule of the fragment, or one of the everyday; contracted at times, as people write."""
        rules = [self.does] * 7 + [self.asks] * 6 + [self.is_so] * 3 + [self.commands] * 3 + [self.is_somewhere] * 2
        rules += [self.utters] * 6  # whole sentences, each of which has to come up often enough to be remembered
        rules += [self.is_a, self.this_is, self.there_is_one, self.asks_of, self.joins, self.wishes] * 2
        rules += [
            self.feels,
            self.aged,
            self.who_is,
            self.hurts,
            self.believes,
            self.my_favorite,
            self.what_time,
            self.schedule,
        ]
        drawn = super().sentence() if self.chance(0.3) else pick(rules, self.generator)()
        if self.chance(0.5):
            drawn = replace(drawn, en=_contracted(drawn.en))
        return drawn

    # Nouns

    def noun(self, kind: Kind, *, depth: int = 0, determiners: str | None = None, verb: str = "") -> _Subject:
        if kind == "person" and determiners is None and self.chance(0.12):
            return self.name()
        if kind == "place" and determiners is None and self.chance(0.2):
            en, pt = pick(PLACES, self.generator)
            return _Subject(en, pt, kind="place")
        return super().noun(kind, depth=depth, determiners=determiners, verb=verb)

    def name(self) -> _Subject:
        en, pt, gender = pick(NAMES, self.generator)
        return _Subject(en, pt, gender=gender)

    def owned(self, noun: _Subject) -> _Subject:
        """*Maria's book*, *their book*; and as in the fragment."""
        if not self.chance(0.4):
            return super().owned(noun)
        bare = noun.en.split(" ", 1)[1]
        if self.chance(0.3):
            return replace(noun, en=f"their {bare}", pt=f"{noun.pt} deles")
        name = self.name()
        return replace(noun, en=f"{name.en}'s {bare}", pt=f"{noun.pt} de {name.pt}")

    def subject(self, depth: int, *, verb: str = "") -> _Subject:
        if self.chance(0.5):
            return pick(_PERSONS, self.generator)
        if self.chance(0.2):
            return self.name()
        if self.chance(0.12):
            en, pt, slot = pick(FIXED_SUBJECTS, self.generator)
            gender: Gender = "f" if pt.endswith(("família", "todas")) else "m"
            return _Subject(en, pt, gender=gender, slot=slot, third=slot == 1)
        return super().subject(depth, verb=verb)

    def relative(self, noun: _Subject, depth: int) -> _Subject:
        """Of things, too, it can be said what became of them and where they are."""
        if noun.kind in ("person", "place") or not self.chance(0.4):
            return super().relative(noun, depth)
        if self.chance(0.5):
            place, be = self.surface(), self.chance(0.7)
            en, pt = _words(_be(noun, past=not be), place.en), _words(self.estar(noun, past=not be), place.pt)
        else:
            action = self.one([a for a in self.intransitive if a.en in ("fall", "disappear", "arrive")])
            verbal = self.verbal(action, noun, ("past",))
            en, pt = verbal.english(), verbal.portuguese()
        return replace(noun, en=f"{noun.en} that {en}", pt=f"{noun.pt} que {pt}", depth=noun.depth + 1)

    def what(self, kind: Kind, *, depth: int = 0, verb: str = "") -> _Subject:
        """An object: with its article; or many, or some stuff, without."""
        if kind in OBJECTS and self.chance(0.06):
            return _Subject(*pick(OBJECTS[kind], self.generator))
        if kind in ("food", "thing") and self.chance(0.35):
            return self.stuff(kind)
        if kind != "place" and self.chance(0.15):
            noun = pick(self.nouns[kind], self.generator)
            links = frozenset({f"{verb} {noun.en}"}) if noun in FRAGMENT_NOUNS else frozenset()
            en, pt = english_plural(noun.en), plural_of(noun.pt)
            if self.asking and self.chance(0.5):
                return _Subject(f"any {en}", pt, links)
            if self.chance(0.15):
                adjective = pick(self.adjectives[kind], self.generator)
                links |= {f"{adjective.en} {noun.en}"}
                en, pt = f"{adjective.en} {en}", f"{pt} {adjective.form(noun.gender, plural=True)}"
            return _Subject(en, pt, links, noun=noun.en, kind=kind, gender=noun.gender, slot=3, third=False)
        return self.noun(kind, depth=depth, verb=verb)

    def stuff(self, kind: Stuff = "food") -> _Subject:
        """What is not counted: *coffee*, *some water*, *the money*."""
        noun = pick(UNCOUNTED[kind], self.generator)
        en, pt, gender = noun.en, noun.pt, noun.gender
        if kind == "food" and self.chance(0.1):
            adjective = pick(self.adjectives["food"], self.generator)
            en, pt = f"{adjective.en} {en}", f"{pt} {adjective.form(gender)}"
        much = "muito" if gender == "m" else "muita"
        article = "o" if gender == "m" else "a"
        mine = "meu" if gender == "m" else "minha"
        before = (
            ("", ""),
            ("", ""),
            ("", ""),
            ("some", "um pouco de"),
            ("a lot of", much),
            ("more", "mais"),
            ("the", article),
            ("my", mine),
        )
        some_en, some_pt = pick(before, self.generator)
        return _Subject(
            _words(some_en, en), _words(some_pt, pt), kind="thing" if kind == "drink" else kind, gender=gender
        )

    # Verbs

    def verbal(self, action: Action, subject: _Subject, times: tuple[Time, ...], *, question: bool = False) -> _Verbal:
        """As in the fragment; the future with *going to* too, the past with *have* too."""
        verbal = super().verbal(action, subject, times, question=question)
        if verbal.time == "future":
            if action.pt == "ir":
                verbal = replace(verbal, pt_aux="", pt_main=conjugate("ir", "present", subject.slot))
            if self.chance(0.5):
                going = _words(verbal.en_middle, "going to")
                return replace(verbal, en_aux=_be(subject, past=False), en_middle=going)
        if verbal.time == "past" and action.pt not in LASTING and self.chance(0.1):
            have = "has" if subject.third else "have"
            middle, before = verbal.en_middle, verbal.pt_before
            if not middle and self.chance(0.6 if question else 0.3):
                middle, before = "ever" if question else "already", "já"
            return replace(verbal, en_aux=have, en_middle=middle, en_main=action.en_participle, pt_before=before)
        if verbal.time == "present" and not question and not verbal.en_middle and self.chance(0.15):
            often, pt = pick(MANNERS, self.generator)
            return replace(verbal, en_middle=often, pt_before=pt)
        return verbal

    def deed(self, subject: _Subject, *, third: bool = True, somewhere: bool = True) -> _Deed:
        """Something that ``subject`` may do.

        Args:
            subject: nobody does it to themselves.
            third: whether *him*, *her* and *them* may be its object; Portuguese joins these to an infinitive.
            somewhere: whether it may tell of a place.
        """
        rules = [self.to_a_thing] * 6 + [self.with_preposition] * 3 + [self.alone] * 4 + [self.to_somebody] * 2
        rules += [self.consumes] * 2 + [self.with_pronoun] * 2 + [self.on_the_way] * (4 * somewhere)
        deed = pick(rules, self.generator)(subject)
        if deed.clitic in ("o", "a", "os", "lhe", "lhes") and not third:
            deed = replace(
                deed,
                en=deed.en.replace(deed.en.split()[0], "me" if subject != _I else "you", 1),
                clitic="me" if subject != _I else "te",
            )
        infinitive, _, rest = deed.action.pt.partition(" ")
        deed = replace(deed, action=replace(deed.action, pt=infinitive), pt=_words(rest, deed.pt))
        if somewhere and not deed.somewhere and self.chance(0.2):
            place = self.whereabouts(subject)
            deed = replace(
                deed,
                en=_words(deed.en, place.en),
                pt=_words(deed.pt, place.pt),
                somewhere=True,
                links=deed.links | place.links,
            )
        return deed

    def to_a_thing(self, subject: _Subject) -> _Deed:
        """*buy the book*."""
        action = self.one(_COMMON if self.chance(0.35) else self.transitive)
        thing = self.what(pick(action.objects, self.generator), depth=int(self.chance(0.2)), verb=action.en)
        links = thing.links | self.linked(action, subject)
        if action.en == "put":
            place = self.surface()
            return _Deed(action, _words(thing.en, place.en), _words(thing.pt, place.pt), "", links, thing.depth, True)
        return _Deed(action, thing.en, thing.pt, "", links, thing.depth)

    def consumes(self, subject: _Subject) -> _Deed:
        """*drink coffee*, *like water*."""
        drink = Action("drink", "drank", "drunk", "beber", ())
        eat = Action("eat", "ate", "eaten", "comer", ())
        like = Action("like", "liked", "liked", "gostar", ())
        want = Action("want", "wanted", "wanted", "querer", ())
        action = pick((drink, drink, drink, eat, like, want), self.generator)
        thing = self.stuff("food" if action is eat else "drink")
        return _Deed(action, thing.en, _with("de", thing.pt) if action is like else thing.pt)

    def with_preposition(self, subject: _Subject) -> _Deed:
        """*like the book*, *gostar do livro*."""
        action = self.one(PREPOSITIONAL[:2] if self.chance(0.5) else PREPOSITIONAL)  # like, need
        infinitive, preposition = action.pt.rsplit(" ", 1)
        if "person" in action.objects and self.chance(0.2):
            persons = TOGETHER if preposition == "com" else PERSONS
            options = [(en, pt) for en, pt in persons if en not in _OWN.get(subject.en, ())]
            en, pt = pick(options, self.generator)
            pt = pt if preposition == "com" else _with(preposition, pt)
            return _Deed(replace(action, pt=infinitive), en, pt, links=self.linked(action, subject))
        thing = self.what(pick(action.objects, self.generator), verb=action.en)
        links = thing.links | self.linked(action, subject)
        return _Deed(replace(action, pt=infinitive), thing.en, _with(preposition, thing.pt), "", links, thing.depth)

    def alone(self, subject: _Subject) -> _Deed:
        """*sleep*, *have breakfast*."""
        action = self.one(self.intransitive)
        en, pt = pick(
            (("", ""),) * 6
            + (
                ("a lot", "muito"),
                ("well", "bem"),
                ("with me", "comigo"),
                ("too much", "demais"),
                ("fast", "rápido"),
                ("again", "de novo"),
            ),
            self.generator,
        )
        if (en == "with me" and subject in (_I, _WE)) or " " in action.en:
            en = pt = ""
        return _Deed(action, en, pt, links=self.linked(action, subject))

    def on_the_way(self, subject: _Subject) -> _Deed:
        """*go to the beach*, *live in Brazil*, *go home*."""
        if self.chance(0.3):
            en, pt = pick(WAYS, self.generator)
            base, past, perfect, *rest = en.split("/")
            tail = rest[0] if rest else ""
            return _Deed(Action(base, past, perfect, pt, ()), tail, somewhere=True)
        action = self.one(MOTION)
        infinitive, preposition = action.pt.rsplit(" ", 1)
        place = self.noun("place", determiners=pick((None, "the", "the"), self.generator))
        en = action.en
        if en.endswith(" in") and place.noun:
            en = en.removesuffix("in") + _in(place)
            if en.endswith(" in") and not en.startswith("live") and self.chance(0.5):
                en = en.removesuffix("in") + "at"
            action = _with_particle(action, en.split(" ", 1)[1])
        return _Deed(
            replace(action, pt=infinitive), place.en, _with(preposition, place.pt), "", place.links, place.depth, True
        )

    def to_somebody(self, subject: _Subject) -> _Deed:
        """*give me the book*, *give the book to Maria*."""
        action = self.one(DITRANSITIVE)
        thing = self.what(pick(action.objects, self.generator), verb=action.en)
        links = thing.links | self.linked(action, subject)
        if self.chance(0.7):
            en, pt = pick([(en, pt) for en, pt in _TO_WHOM if en not in _OWN.get(subject.en, ())], self.generator)
            return _Deed(action, f"{en} {thing.en}", thing.pt, pt, links, thing.depth)
        person = self.noun("person")
        links |= person.links
        return _Deed(
            action, f"{thing.en} to {person.en}", _words(thing.pt, _with("a", person.pt)), "", links, thing.depth
        )

    def with_pronoun(self, subject: _Subject) -> _Deed:
        """*help me*, *me ajudar*."""
        action = self.one([action for action in self.transitive if "person" in action.objects and action.en != "have"])
        options = (*_CLITICS, ("you", "te"), ("you", "te"), ("me", "me"), ("them", "os"))
        en, pt = pick([(en, pt) for en, pt in options if en not in _OWN.get(subject.en, ())], self.generator)
        return _Deed(action, en, clitic=pt, links=self.linked(action, subject))

    def whereabouts(self, subject: _Subject) -> _Phrase:
        """*at home*, *with my friends*, *in the garden*."""
        if self.chance(0.4):
            return self.addition(1.0)
        en, pt = pick(SPOTS, self.generator)
        return _Phrase("", "") if en.split()[-1] in _OWN.get(subject.en, ()) else _Phrase(en, pt)

    def surface(self) -> _Phrase:
        """*on the table*, *under my bed*."""
        word, article, noun, inside = pick(SURFACES, self.generator)
        if self.chance(0.3):
            inside, pt = pick(
                (
                    ("under", "embaixo de"),
                    ("near", "perto de"),
                    ("behind", "atrás de"),
                    ("next to", "ao lado de"),
                    ("in front of", "em frente a"),
                ),
                self.generator,
            )
        else:
            pt = "em"
        if self.chance(0.2):
            mine_en, mine = pick((("my", ("meu", "minha")), ("your", ("seu", "sua"))), self.generator)
            return _Phrase(f"{inside} {mine_en} {word}", _with(pt, f"{mine[article == 'a']} {noun}"))
        return _Phrase(f"{inside} the {word}", _with(pt, f"{article} {noun}"))

    def when(self, time: Time) -> _Phrase:
        """A time that suits the tense; or none."""
        if not self.chance(0.3):
            return _Phrase("", "")
        if time == "habitual":
            return _Phrase("", "")
        if time != "progressive" and self.chance(0.12):
            hour = pick(HOURS, self.generator)
            return _Phrase(f"at {hour[0]}", hour[1])
        return _Phrase(*pick(TIMES[time], self.generator))

    def predicate(self, subject: _Subject, depth: int) -> _Phrase:
        """What the subject does, without the subject: a deed in some tense."""
        if self.chance(0.3):
            return super().predicate(subject, depth)
        return self.finite(subject)

    def finite(self, subject: _Subject, *, when: bool = True) -> _Phrase:
        """A deed in some tense, with a time at its end."""
        deed = self.deed(subject, third=True)
        times: tuple[Time, ...] = _EASY if deed.clitic in ("o", "a", "os") else _ALL_TIMES
        verbal = self.verbal(deed.action, subject, times)
        time = self.when(verbal.time) if when else _Phrase("", "")
        return _Phrase(
            _words(verbal.english(), deed.en, time.en),
            _words(verbal.portuguese(deed.clitic), deed.pt, time.pt),
            deed.links,
            deed.depth,
        )

    def infinitive(self, subject: _Subject, *, question: bool = False) -> tuple[tuple[str, str], str, tuple[str, str]]:
        """What stands before an infinitive: English auxiliary and the rest of it, *não* or nothing, Portuguese."""
        negative = not question and self.chance(0.2)
        deny = "não" if negative else ""
        if self.chance(0.5):
            en, forms = pick(MODALS, self.generator)
            first, _, rest = en.partition(" ")
            forms_list = forms.split("/")
            aux = {"can not": "cannot"}.get(_words(first, "not" if negative else ""), _words(first, "not" * negative))
            return (aux, rest), deny, (forms_list[subject.slot], "")
        wanting = self.one(EVERYDAY_WANTING)
        present = self.chance(0.6)
        aux, middle, main = _english_verb(
            wanting, subject, "present" if present else "past", negative=negative, question=question, adverb=""
        )
        lasting = wanting.en in ("want to", "need to", "like to", "love to", "prefer to", "hope to")
        tense: Tense = "present" if present else "habitual" if lasting else "past"
        verb, _, rest = wanting.pt.partition(" ")
        if question or negative:
            return (_words(aux, middle if negative else ""), main), deny, (conjugate(verb, tense, subject.slot), rest)
        return ("", main), deny, (conjugate(verb, tense, subject.slot), rest)

    # Statements

    def ends(self, phrase: _Phrase, mark: str = ".") -> _Phrase:
        return replace(phrase, en=phrase.en + mark, pt=phrase.pt + mark)

    def does(self) -> _Phrase:
        """Somebody does something, in some tense."""
        subject = self.subject(int(self.chance(0.2)))
        if subject.slot == 1 and not subject.depth and self.chance(0.04):
            return self.ends(
                _join(
                    _Phrase(*pick((("yes,", "sim,"), ("no,", "não,")), self.generator)),
                    _join(subject, self.finite(subject)),
                )
            )
        clause = _join(subject, self.finite(subject))
        if " not" not in clause.en and self.chance(0.05):
            clause = _join(clause, _Phrase("too", "também"))
        return self.ends(clause)

    def wishes(self) -> _Phrase:
        """*I want to learn Portuguese*, *she can't swim*."""
        subject = self.subject(0)
        (aux, rest), deny, (pt, pt_rest) = self.infinitive(subject)
        deed, when = self.deed(subject, third=False), self.when("future" if self.chance(0.3) else "habitual")
        return self.ends(
            _Phrase(
                _words(subject.en, aux, rest, deed.action.en, deed.en, when.en),
                _words(subject.pt, deny, pt, pt_rest, deed.clitic, deed.action.pt, deed.pt, when.pt),
                subject.links | deed.links,
                deed.depth,
            )
        )

    def described(self, subject: _Subject) -> tuple[Adjective, str]:
        """What is said of ``subject``, and the Portuguese verb for it: *ser* of what lasts, *estar* of what passes."""
        if subject.kind == "person" and self.chance(0.5):
            adjective = pick(FEELINGS, self.generator)
        else:
            adjective = pick(self.adjectives[subject.kind], self.generator)
        return adjective, "estar" if adjective.en in PASSING else "ser"

    def is_so(self) -> _Phrase:
        """*The soup is very good*, *I am tired*, *it was too late*, *Maria is taller than John*."""
        subject = self.one_of_all()
        past, negative = self.chance(0.3), self.chance(0.15)
        adjective, be = self.described(subject)
        gender, plural = subject.gender or "m", subject.plural
        if subject.pt and self.chance(0.1):
            looks = self.verbal(_LOOK if self.chance(0.6) else _SEEM, subject, ("present",))
            links = frozenset({f"{adjective.en} {subject.noun}"}) if subject.noun else frozenset()
            return self.ends(
                _Phrase(
                    _words(subject.en, looks.english(), adjective.en),
                    _words(subject.pt, looks.portuguese(), adjective.form(gender, plural=plural)),
                    subject.links | links,
                    subject.depth,
                )
            )
        en, pt = adjective.en, adjective.form(gender, plural=plural)
        links = frozenset({f"{adjective.en} {subject.noun}"}) if subject.noun else frozenset()
        if adjective.en in COMPARATIVES and self.chance(0.4):
            en, better = COMPARATIVES[adjective.en]
            other = self.noun(subject.kind)
            if subject.kind == "person" and self.chance(0.4):
                other = _Subject(*pick(_THAN, self.generator))
            if subject.kind == "thing" and subject.noun and self.chance(0.15):
                whose, (him, her) = pick((("mine", ("meu", "minha")), ("yours", ("seu", "sua"))), self.generator)
                article, mine = ("a", her) if gender == "f" else ("o", him)
                other = _Subject(whose, f"{article}s {mine}s" if plural else f"{article} {mine}")
            pt = f"{(plural_of(better) if plural else better) if better else f'mais {pt}'} do que {other.pt}"
            en = f"{en} than {other.en}"
            links |= other.links
        elif adjective.en not in ("married", "single", "Brazilian", "American"):
            degree = pick(
                (("", ""),) * 5 + (("very", "muito"),) * 3 + (("so", "tão"), ("too", "muito")), self.generator
            )
            en, pt = _words(degree[0], en), _words(degree[1], pt)
        when = self.chance(0.1) * (" yesterday" if past else " today")
        return self.ends(
            _Phrase(
                _words(subject.en, _be(subject, past=past), "not" * negative, en) + when,
                _words(subject.pt, "não" * negative, conjugate(be, "habitual" if past else "present", subject.slot), pt)
                + {"": "", " yesterday": " ontem", " today": " hoje"}[when],
                subject.links | links,
                subject.depth,
            )
        )

    def one_of_all(self) -> _Subject:
        """A person, a thing, a food, … , *it*, *this*, *everything*."""
        if self.chance(0.5):
            return self.subject(0)
        if self.chance(0.3):
            en, pt = pick(
                (("it", ""), ("it", ""), ("this", "isto"), ("that", "isso"), ("everything", "tudo")), self.generator
            )
            return _Subject(en, pt, kind="thing", gender="m")
        if self.chance(0.3):
            stuff = self.stuff()
            noun = pick(UNCOUNTED["food"], self.generator)
            article = "o" if noun.gender == "m" else "a"
            return replace(stuff, en=f"the {noun.en}", pt=f"{article} {noun.pt}", gender=noun.gender, kind="food")
        kind: Kind = pick(("thing", "text", "place", "animal", "food"), self.generator)
        depth = int(self.chance(0.3))
        return super().noun(kind, depth=depth)

    def feels(self) -> _Phrase:
        """*I am hungry*, *eu estou com fome*: English is what Portuguese has."""
        subject = self.subject(0)
        en, pt = pick(_HAVING, self.generator)
        past, negative = self.chance(0.25), self.chance(0.2)
        very = self.chance(0.2) and en != "in a hurry"
        if very:
            en, pt = (
                "very " + en,
                pt.replace("com ", "com muito " if pt.split()[1] not in ("fome", "sede", "pressa") else "com muita "),
            )
        return self.ends(
            _Phrase(
                _words(subject.en, _be(subject, past=past), "not" * negative, en),
                _words(subject.pt, "não" * negative, self.estar(subject, past=past), pt),
                subject.links,
            )
        )

    def estar(self, subject: _Subject, *, past: bool) -> str:
        return conjugate("estar", "habitual" if past else "present", subject.slot)

    def is_a(self) -> _Phrase:
        """*She is a doctor*, *my brother wants to be a singer*."""
        subject = self.subject(int(self.chance(0.2)))
        noun = pick(_OPEN + _JOBS, self.generator)
        noun = noun.counterpart if subject.gender == "f" else noun
        en, pt = (english_plural(noun.en), plural_of(noun.pt)) if subject.plural else (noun.en, noun.pt)
        links = frozenset[str]()
        if not subject.plural:
            article = "an" if en[0] in "aeiou" else "a"
            if self.chance(0.25):
                good = pick((Adjective("bom", "boa", "good"), Adjective("grande", "grande", "great")), self.generator)
                links = frozenset({f"{good.en} {noun.en}"})
                en, pt = f"a {good.en} {en}", f"{'uma' if noun.gender == 'f' else 'um'} {good.form(noun.gender)} {pt}"
            else:
                en = f"{article} {en}"
        past, negative = self.chance(0.2), self.chance(0.15)
        be = conjugate("ser", "habitual" if past else "present", subject.slot)
        if self.chance(0.15) and not past:
            wants = _english_verb(_WANT, subject, "present", negative=negative, question=False, adverb="")
            return self.ends(
                _Phrase(
                    _words(subject.en, *wants, "to be", en),
                    _words(subject.pt, "não" * negative, conjugate("querer", "present", subject.slot), "ser", pt),
                    subject.links | links,
                    subject.depth,
                )
            )
        if self.chance(0.2):
            asked = _words(_be(subject, past=past), subject.en, en)
            return self.ends(_Phrase(asked, _words(subject.pt, be, pt), subject.links | links, subject.depth), "?")
        return self.ends(
            _Phrase(
                _words(subject.en, _be(subject, past=past), "not" * negative, en),
                _words(subject.pt, "não" * negative, be, pt),
                subject.links | links,
                subject.depth,
            )
        )

    def this_is(self) -> _Phrase:
        """*This is my brother*, *these are my shoes*, *it is a good book*."""
        noun = super().noun(pick(("person", "thing", "text", "place", "animal", "food"), self.generator))
        f = noun.gender == "f"
        if noun.plural:
            en, pt = pick((("these", ("estes", "estas")), ("those", ("aqueles", "aquelas"))), self.generator)
        else:
            en, pt = pick(
                (("this", ("este", "esta")), ("that", ("aquele", "aquela")), ("it", ("", ""))), self.generator
            )
        is_ = conjugate("ser", "present", noun.slot)
        if self.chance(0.25) and en != "it":
            be = "are" if noun.plural else "is"
            return self.ends(_Phrase(f"{be} {en} {noun.en}", f"{pt[f]} {is_} {noun.pt}", noun.links, noun.depth), "?")
        negative = self.chance(0.12)
        be_en = _words("are" if noun.plural else "is", "not" * negative)
        return self.ends(
            _Phrase(f"{en} {be_en} {noun.en}", _words(pt[f], "não" * negative, is_, noun.pt), noun.links, noun.depth)
        )

    def is_somewhere(self) -> _Phrase:
        """*The keys are on the table*, *is she at home?*, *where are my shoes?*."""
        past = self.chance(0.25)
        if self.chance(0.5):
            subject = self.subject(0)
            place = self.whereabouts(subject) if self.chance(0.7) else self.surface()
        else:
            subject = super().noun(pick(("thing", "thing", "text", "animal", "food"), self.generator))
            place = self.surface()
        if not place.en:
            place = _Phrase("here", "aqui")
        links = subject.links | place.links
        be, estar = _be(subject, past=past), self.estar(subject, past=past)
        if self.chance(0.25):
            order = (subject.pt, estar) if subject in _PERSONS else (estar, subject.pt)
            where = _Phrase(_words("where", be, subject.en), _words("onde", *order), subject.links, subject.depth)
            return self.ends(where, "?")
        if self.chance(0.25):
            asked = _words(be, subject.en, place.en)
            return self.ends(_Phrase(asked, _words(subject.pt, estar, place.pt), links, subject.depth), "?")
        negative = self.chance(0.15)
        return self.ends(
            _Phrase(
                _words(subject.en, be, "not" * negative, place.en),
                _words(subject.pt, "não" * negative, estar, place.pt),
                links,
                subject.depth,
            )
        )

    def there_is_one(self) -> _Phrase:
        """*There is a bank near here*, *are there any books on the table?*, *there is no milk*."""
        place = self.surface() if self.chance(0.5) else _Phrase(*pick(SPOTS[:8], self.generator))
        past = self.chance(0.2)
        tem = "havia" if past else "há"
        if self.chance(0.3):
            stuff = self.stuff(pick(("food", "drink", "thing"), self.generator))
            noun = pick(UNCOUNTED["food"], self.generator)
            if self.chance(0.5):
                be = "was" if past else "is"
                return self.ends(_Phrase(f"there {be} no {noun.en} {place.en}", f"não {tem} {noun.pt} {place.pt}"))
            if stuff.en.startswith(("the ", "my ")):
                stuff = _Subject(noun.en, noun.pt)
            return self.ends(
                _Phrase(f"there {'was' if past else 'is'} {stuff.en} {place.en}", f"{tem} {stuff.pt} {place.pt}")
            )
        thing = super().noun(
            pick(("thing", "person", "animal", "place", "food", "text"), self.generator), determiners="some"
        )
        be = _be(thing, past=past)
        if self.chance(0.3):
            asked = f"{be} there {thing.en} {place.en}"
            return self.ends(_Phrase(asked, f"{tem} {thing.pt} {place.pt}", thing.links, thing.depth), "?")
        return self.ends(_Phrase(f"there {be} {thing.en} {place.en}", f"{tem} {thing.pt} {place.pt}", thing.links))

    def aged(self) -> _Phrase:
        """*I am ten years old*, *how old is your brother?*."""
        subject = self.subject(0)
        ter = conjugate("ter", "present", subject.slot)
        if self.chance(0.4):
            return self.ends(
                _Phrase(
                    _words("how old", _be(subject, past=False), subject.en),
                    _words("quantos anos", subject.pt, ter),
                    subject.links,
                ),
                "?",
            )
        en, pt = pick(_NUMBERS, self.generator)
        return self.ends(
            _Phrase(
                _words(subject.en, _be(subject, past=False), en, "years old"),
                _words(subject.pt, ter, pt, "anos"),
                subject.links,
            )
        )

    def hurts(self) -> _Phrase:
        """*My head hurts*, *I have a headache*."""
        if self.chance(0.3):
            subject = self.subject(0)
            en, pt = pick(
                (
                    ("a headache", "dor de cabeça"),
                    ("a fever", "febre"),
                    ("a cold", "um resfriado"),
                    ("a stomachache", "dor de barriga"),
                ),
                self.generator,
            )
            verbal = self.verbal(_HAVE, subject, ("present", "past"))
            return self.ends(
                _Phrase(
                    _words(subject.en, verbal.english(), en), _words(subject.pt, verbal.portuguese(), pt), subject.links
                )
            )
        en, pt, gender = pick(_BODY, self.generator)
        mine = pick((("my", ("meu", "minha")), ("your", ("seu", "sua"))), self.generator)
        if self.chance(0.6):
            return self.ends(_Phrase(f"{mine[0]} {en} hurts", f"{mine[1][gender == 'f']} {pt} dói"))
        adjective = pick(
            (
                Adjective("quebrado", "quebrada", "broken"),
                Adjective("frio", "fria", "cold"),
                Adjective("sujo", "suja", "dirty"),
                Adjective("limpo", "limpa", "clean"),
            ),
            self.generator,
        )
        return self.ends(
            _Phrase(f"{mine[0]} {en} is {adjective.en}", f"{mine[1][gender == 'f']} {pt} está {adjective.form(gender)}")
        )

    def my_favorite(self) -> _Phrase:
        """*My favorite color is blue*, *what is your favorite food?*."""
        en, pt, gender, answers = pick(FAVORITES, self.generator)
        f = gender == "f"
        favorite = "favorita" if f else "favorito"
        mine_en, mine = pick((("my", ("meu", "minha")), ("your", ("seu", "sua"))), self.generator)
        if self.chance(0.4):
            return self.ends(_Phrase(f"what is {mine_en} favorite {en}", f"qual é {mine[f]} {pt} {favorite}"), "?")
        answer = pick(answers.split("/"), self.generator).split("=")
        return self.ends(_Phrase(f"{mine_en} favorite {en} is {answer[0]}", f"{mine[f]} {pt} {favorite} é {answer[1]}"))

    def believes(self) -> _Phrase:
        """*I think that she is tired*, *I hope you like the book*."""
        subject = pick(_PERSONS, self.generator)
        action = self.one((_THINK, _THINK, _KNOW, _HOPE, Action("say", "said", "said", "dizer", ())))
        verbal = self.verbal(action, subject, ("past" if action.en == "say" else "present",))
        clause = pick((self.does, self.is_so, self.is_somewhere), self.generator)()
        if clause.en[-1] != "." or clause.en.startswith(("yes,", "no,")):
            return clause
        marker = "" if self.chance(0.5) else "that"
        return _Phrase(
            _words(subject.en, verbal.english(), marker, clause.en),
            _words(subject.pt, verbal.portuguese(), "que", clause.pt),
            clause.links,
            clause.depth + 1,
        )

    def joins(self) -> _Phrase:
        """*I was tired, but I went to the party*: two clauses in one sentence."""
        rules = (self.does, self.does, self.is_so, self.is_somewhere, self.feels, self.wishes)
        first, second = pick(rules, self.generator)(), pick(rules, self.generator)()
        if first.en[-1] != "." or second.en[-1] != "." or second.en.startswith(("yes,", "no,")):
            return first
        en, pt = pick(
            ((" and", " e"), (", but", ", mas"), (" because", " porque"), (", so", ", então"), (" when", " quando")),
            self.generator,
        )
        if len(first.en.split()) + len(second.en.split()) >= TRAIN_WORDS:
            return first
        return _Phrase(
            f"{first.en[:-1]}{en} {second.en}",
            f"{first.pt[:-1]}{pt} {second.pt}",
            first.links | second.links,
            max(first.depth, second.depth),
        )

    # Questions, commands, utterances

    def asks(self) -> _Phrase:
        """*Do you like coffee?*, *where does she live?*, *can you help me?*, *what do you want?*."""
        self.asking = True
        subject = pick((_YOU, _YOU, _YOU, _I, _WE, _HE, _SHE, _THEY, None, None, None), self.generator)
        subject = subject or self.subject(0)
        word = _Phrase(*pick(_ASKING, self.generator))
        where = word.en == "where"
        if self.chance(0.1 if word.en else 0.4):
            (aux, rest), deny, (pt, pt_rest) = self.infinitive(subject, question=True)
            deed = self.deed(subject, third=False, somewhere=not where)
            return self.ends(
                _Phrase(
                    _words(word.en, aux, subject.en, rest, deed.action.en, deed.en),
                    _words(word.pt, subject.pt, deny, pt, pt_rest, deed.clitic, deed.action.pt, deed.pt),
                    subject.links | deed.links,
                    deed.depth,
                ),
                "?",
            )
        if self.chance(0.3):
            return self.asks_what(subject)
        if self.chance(0.15):
            word, subject = _Phrase("who", "quem"), _HE
            finite = self.finite(subject)
            return self.ends(_join(word, finite), "?")
        deed = self.deed(subject, third=False, somewhere=not where)
        verbal = self.verbal(deed.action, subject, _ALL_TIMES, question=True)
        time = self.when(verbal.time) if not word.en else _Phrase("", "")
        return self.ends(
            _Phrase(
                _words(word.en, verbal.en_aux, subject.en, verbal.en_middle, verbal.en_main, deed.en, time.en),
                _words(word.pt, subject.pt, verbal.portuguese(deed.clitic), deed.pt, time.pt),
                subject.links | deed.links,
                deed.depth,
            ),
            "?",
        )

    def asks_what(self, subject: _Subject) -> _Phrase:
        """*What are you doing?*, *what did she buy yesterday?*."""
        actions = [
            action for action in self.transitive if "thing" in action.objects and action.en not in ("have", "put")
        ]
        action = self.one((_DO, _DO, _DO, _EAT, _DRINK, Action("say", "said", "said", "dizer", ()), self.one(actions)))
        verbal = self.verbal(action, subject, _ALL_TIMES, question=True)
        time = self.when(verbal.time)
        return self.ends(
            _Phrase(
                _words("what", verbal.en_aux, subject.en, verbal.en_middle, verbal.en_main, time.en),
                _words("o que", subject.pt, verbal.portuguese(), time.pt),
                subject.links | self.linked(action, subject),
            ),
            "?",
        )

    def asks_of(self) -> _Phrase:
        """*How is your mother?*, *how much is it?*, *where are you from?*, *what color is the car?*, *is it good?*."""
        if self.chance(0.35):
            subject = self.one_of_all()
            adjective, be = self.described(subject)
            past = self.chance(0.2)
            form = adjective.form(subject.gender or "m", plural=subject.plural)
            links = frozenset({f"{adjective.en} {subject.noun}"}) if subject.noun else frozenset()
            verb = conjugate(be, "habitual" if past else "present", subject.slot)
            return self.ends(
                _Phrase(
                    _words(_be(subject, past=past), subject.en, adjective.en),
                    _words(subject.pt, verb, form),
                    subject.links | links,
                    subject.depth,
                ),
                "?",
            )
        if self.chance(0.3):
            subject = self.subject(0)
            be, ser = _be(subject, past=False), conjugate("ser", "present", subject.slot)
            if self.chance(0.3):
                return self.ends(
                    _Phrase(_words("where", be, subject.en, "from"), _words("de onde", subject.pt, ser), subject.links),
                    "?",
                )
            if self.chance(0.5):
                country = pick(PLACES, self.generator)
                return self.ends(
                    _Phrase(
                        _words(subject.en, be, "from", country[0]),
                        _words(subject.pt, ser, _with("de", country[1])),
                        subject.links,
                    )
                )
            estar = self.estar(subject, past=False)
            return self.ends(
                _Phrase(_words("how", be, subject.en), _words("como", subject.pt, estar), subject.links), "?"
            )
        thing = super().noun(pick(("thing", "text", "food"), self.generator))
        if self.chance(0.3):
            return self.ends(
                _Phrase(
                    _words("what color", _be(thing, past=False), thing.en),
                    _words("de que cor", conjugate("ser", "present", thing.slot), thing.pt),
                    thing.links,
                    thing.depth,
                ),
                "?",
            )
        cost = conjugate("custar", "present", thing.slot)
        if self.chance(0.5):
            en = _words("how much", "do" if thing.plural else "does", thing.en, "cost")
        else:
            en = _words("how much", _be(thing, past=False), thing.en)
        return self.ends(_Phrase(en, _words("quanto", cost, thing.pt), thing.links, thing.depth), "?")

    def who_is(self) -> _Phrase:
        """*Who is that man?*, *who are they?*."""
        person = pick((_HE, _SHE, _THEY, _YOU), self.generator) if self.chance(0.3) else super().noun("person")
        return self.ends(
            _Phrase(
                _words("who", _be(person, past=False), person.en),
                _words("quem", conjugate("ser", "present", person.slot), person.pt),
                person.links,
                person.depth,
            ),
            "?",
        )

    def what_time(self) -> _Phrase:
        """*It is three o'clock*, *what time do you wake up?*."""
        hour, at = pick(HOURS, self.generator)
        if self.chance(0.4):
            pt = at.removeprefix("às ").removeprefix("à ").removeprefix("ao ")
            return self.ends(_Phrase(f"it is {hour}", f"{'são' if at.startswith('às') else 'é'} {pt}"))
        subject = self.subject(0)
        deed = self.deed(subject, third=False)
        verbal = self.verbal(deed.action, subject, ("present", "past", "future"), question=True)
        return self.ends(
            _Phrase(
                _words("what time", verbal.en_aux, subject.en, verbal.en_middle, verbal.en_main, deed.en),
                _words("a que horas", subject.pt, verbal.portuguese(deed.clitic), deed.pt),
                subject.links | deed.links,
                deed.depth,
            ),
            "?",
        )

    def is_the_most(self) -> _Phrase:
        """*She is the best student in the school*, *this is the biggest city in Brazil*."""
        kind: Kind = pick(("person", "person", "thing", "text", "place", "animal", "food"), self.generator)
        noun = pick(self.nouns[kind], self.generator)
        subject = self.subject(0) if kind == "person" else _Subject(*pick((("this", ""), ("it", "")), self.generator))
        while subject.plural:
            subject = self.subject(0)
        if kind == "person" and noun.en == noun.counterpart.en and subject.gender == "f":
            noun = noun.counterpart
        f = noun.gender == "f"
        known = [a for a in (*self.adjectives[kind], *QUALITIES["thing"][:3]) if a.en in COMPARATIVES]
        adjective = pick(known, self.generator)
        more, better = COMPARATIVES[adjective.en]
        most = {"better": "best", "worse": "worst"}.get(more) or re.sub("^more", "most", re.sub("er$", "est", more))
        pt = f"{better} {noun.pt}" if better else f"{noun.pt} mais {adjective.form(noun.gender)}"
        place = self.noun("place", determiners="the") if self.chance(0.5) else _Subject(*pick(PLACES, self.generator))
        said = subject.pt or ("" if subject.en == "it" else "esta" if f else "este")
        ser = conjugate("ser", "present", subject.slot)
        links = subject.links | place.links | {f"{adjective.en} {noun.en}"}
        en = _words(subject.en, _be(subject, past=False), "the", most, noun.en)
        pt = _words(said, ser, "a" if f else "o", pt)
        if self.chance(0.5):
            en, pt = _words(en, "in", place.en), _words(pt, _with("de", place.pt))
        return self.ends(_Phrase(en, pt, links, place.depth))

    def has_been(self) -> _Phrase:
        """*I have never been to Brazil*, *have you ever been to the museum?*."""
        subject, place = self.subject(0), self.noun("place", determiners=pick((None, "the"), self.generator))
        links = subject.links | place.links
        have, estar = "has" if subject.third else "have", conjugate("estar", "past", subject.slot)
        where = _with("em", place.pt)
        if self.chance(0.5):
            ever, already = pick((("ever", "já"), ("", "")), self.generator)
            en = _words(have, subject.en, ever, "been to", place.en)
            return self.ends(_Phrase(en, _words(subject.pt, already, estar, where), links, place.depth), "?")
        ever, already = pick((("never", "nunca"), ("already", "já"), ("not", "não"), ("", "")), self.generator)
        en = _words(subject.en, have, ever, "been to", place.en)
        return self.ends(_Phrase(en, _words(subject.pt, already, estar, where), links, place.depth))

    def schedule(self) -> _Phrase:
        """*The train leaves at eight o'clock*, *when does the store open?*."""
        word, noun, verbs = pick(SCHEDULES, self.generator)
        base, pt = pick(verbs, self.generator)
        past = base + ("d" if base.endswith("e") else "ed")
        action = Action(base, {"leave": "left", "begin": "began"}.get(base, past), past, pt, ())
        subject = _Subject(f"the {word}", noun, kind="thing")
        asking = self.chance(0.5)
        verbal = self.verbal(action, subject, ("present", "present", "past", "future"), question=asking)
        if asking:
            en, pt = pick((("what time", "a que horas"), ("when", "quando")), self.generator)
            en = _words(en, verbal.en_aux, subject.en, verbal.en_middle, verbal.en_main)
            return self.ends(_Phrase(en, _words(pt, noun, verbal.portuguese())), "?")
        time = self.when(verbal.time)
        return self.ends(
            _Phrase(_words(subject.en, verbal.english(), time.en), _words(noun, verbal.portuguese(), time.pt))
        )

    def commands(self) -> _Phrase:
        """*Please close the door*, *don't forget your keys*, *let's go to the beach*."""
        if self.chance(0.2):
            deed = self.deed(_WE, third=False)
            return self.ends(
                _Phrase(
                    _words("let us", deed.action.en, deed.en),
                    _words("vamos", deed.clitic, deed.action.pt, deed.pt),
                    deed.links,
                    deed.depth,
                )
            )
        deed = self.deed(_YOU, third=False)
        negative = self.chance(0.25)
        en = _words("do not" * negative, deed.action.en, deed.en)
        pt = _words("não" * negative, deed.clitic, imperative(deed.action.pt), deed.pt)
        please = pick(("before", "behind", "", "", ""), self.generator)
        if please == "before":
            en, pt = f"please {en}" if self.chance(0.7) else f"please, {en}", f"por favor, {pt}"
        elif please == "behind":
            en, pt = f"{en}, please", f"{pt}, por favor"
        return self.ends(_Phrase(en, pt, deed.links, deed.depth), "." if self.chance(0.9) else "!")

    def utters(self) -> _Phrase:
        """What is learned as a whole."""
        en, pt = pick(UTTERANCES, self.generator)
        return _Phrase(en, pt)


def _with_particle(action: Action, particle: str) -> Action:
    """*work in* with another preposition: *work at*."""

    def changed(text: str) -> str:
        return f"{text.split(' ', 1)[0]} {particle}"

    return Action(changed(action.en), changed(action.past), changed(action.en_participle), action.pt, action.objects)


def _contracted(english: str) -> str:
    """*I do not know* as *I don't know*."""
    for whole, short in CONTRACTIONS:
        english = re.sub(rf"\b{whole}\b", short, english)
    return english


_EASY: tuple[Time, ...] = ("past", "past", "present")
_ALL_TIMES: tuple[Time, ...] = (
    "past",
    "past",
    "past",
    "present",
    "present",
    "present",
    "future",
    "progressive",
    "progressive",
    "past progressive",
    "habitual",
)
_TO_WHOM = (("me", "me"), ("me", "me"), ("us", "nos"), ("you", "te"), ("him", "lhe"), ("her", "lhe"), ("them", "lhes"))
_ASKING = (("", ""),) * 5 + (
    ("where", "onde"),
    ("where", "onde"),
    ("when", "quando"),
    ("why", "por que"),
    ("why", "por que"),
    ("how", "como"),
)
_HAVING = (
    ("hungry", "com fome"),
    ("thirsty", "com sede"),
    ("cold", "com frio"),
    ("hot", "com calor"),
    ("sleepy", "com sono"),
    ("afraid", "com medo"),
    ("in a hurry", "com pressa"),
)
_NUMBERS = (
    ("five", "cinco"),
    ("six", "seis"),
    ("seven", "sete"),
    ("eight", "oito"),
    ("nine", "nove"),
    ("ten", "dez"),
    ("eleven", "onze"),
    ("twelve", "doze"),
    ("fifteen", "quinze"),
    ("eighteen", "dezoito"),
    ("twenty", "vinte"),
    ("thirty", "trinta"),
    ("forty", "quarenta"),
    ("twenty-five", "vinte e cinco"),
    ("three", "três"),
    ("four", "quatro"),
)
_BODY: tuple[tuple[str, str, Gender], ...] = (
    ("head", "cabeça", "f"),
    ("hand", "mão", "f"),
    ("foot", "pé", "m"),
    ("arm", "braço", "m"),
    ("leg", "perna", "f"),
    ("stomach", "barriga", "f"),
    ("tooth", "dente", "m"),
    ("finger", "dedo", "m"),
    ("face", "rosto", "m"),
    ("nose", "nariz", "m"),
    ("mouth", "boca", "f"),
    ("throat", "garganta", "f"),
)
_JOBS: tuple[Noun, ...] = tuple(
    noun
    for noun in ALL_NOUNS
    if noun.en
    in (
        "nurse",
        "lawyer",
        "engineer",
        "cook",
        "driver",
        "dentist",
        "artist",
        "waiter",
        "actor",
        "farmer",
        "tourist",
        "manager",
    )
    and noun.gender == "m"
)
_COMMON: tuple[Action, ...] = tuple(
    action
    for action in TRANSITIVE + EVERYDAY_TRANSITIVE
    if action.en in ("have", "want", "buy", "see", "read", "eat", "know", "help", "make", "open", "use", "wait for")
)
_THAN = (("me", "eu"), ("you", "você"), ("him", "ele"), ("her", "ela"), ("us", "nós"), ("them", "eles"))
_WANT = Action("want", "wanted", "wanted", "querer", ())
_HAVE = Action("have", "had", "had", "ter", ())
_THINK = Action("think", "thought", "thought", "achar", ())
_KNOW = Action("know", "knew", "known", "saber", ())
_HOPE = Action("hope", "hoped", "hoped", "esperar", ())
_LOOK = Action("look", "looked", "looked", "parecer", ())
_SEEM = Action("seem", "seemed", "seemed", "parecer", ())
_DO = Action("do", "did", "done", "fazer", ())
_EAT = Action("eat", "ate", "eaten", "comer", ())
_DRINK = Action("drink", "drank", "drunk", "beber", ())
