"""A fragment of Portuguese in which a word depends on another far away, as material for experiments.

A sentence names a person and what that person did, and says how one of the two nouns was:

    O livro que a menina me deu era bonito.    The book that the girl gave me was beautiful.
    A menina que me deu o livro era bonita.    The girl who gave me the book was beautiful.

The adjective at the end agrees in gender with the sentence's first noun, its *head*; the other noun of the clause, the
*distractor*, stands nearer and must be passed over. The two sentences above are *twins*: the same words in another
order, with the other noun as head. All randomness comes from the caller's ``torch.Generator``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from transformer_lib.data.lexicon import ADJECTIVES, NOUNS, Adjective, Gender, Kind, Noun, pick

Split = Literal["train", "test"]
Preposition = Literal["com", "em", "perto de"]
Role = Literal[
    "determiner", "head", "que", "distractor's determiner", "distractor", "verb", "adjunct", "copula", "adjective"
]


@dataclass(frozen=True)
class Verb:
    """A verb in the past, for a person as its subject.

    Args:
        pt: the Portuguese form, with *me* before it where it has one.
        en: the English form.
        objects: the kinds of nouns that can be its object.
    """

    pt: str
    en: str
    objects: tuple[Kind, ...]


@dataclass(frozen=True)
class Adjunct:
    """A preposition and a noun, which make the clause longer: *com a professora*.

    Args:
        preposition: it joins with the article that follows: *em* + *a* = *na*.
        noun: one more noun that the adjective must pass over.
    """

    preposition: Preposition
    noun: Noun


VERBS = (
    Verb("me deu", "gave me", ("thing",)),
    Verb("me mostrou", "showed me", ("thing",)),
    Verb("comprou", "bought", ("thing",)),
    Verb("vendeu", "sold", ("thing",)),
    Verb("perdeu", "lost", ("thing",)),
    Verb("achou", "found", ("thing",)),
    Verb("escondeu", "hid", ("thing",)),
    Verb("trouxe", "brought", ("thing",)),
    Verb("encontrou", "met", ("person",)),
    Verb("esperou", "waited for", ("person",)),
    Verb("reconheceu", "recognized", ("person",)),
    Verb("visitou", "visited", ("person", "place")),
    Verb("procurou", "looked for", ("person", "thing", "place")),
    Verb("viu", "saw", ("person", "thing", "place")),
    Verb("observou", "observed", ("person", "thing", "place")),
    Verb("descreveu", "described", ("person", "thing", "place")),
    Verb("desenhou", "drew", ("person", "thing", "place")),
    Verb("fotografou", "photographed", ("person", "thing", "place")),
)

COPULAS = {"era": "was", "parecia": "seemed"}

_ARTICLES: dict[Gender, str] = {"m": "o", "f": "a"}
_CONTRACTIONS: dict[Preposition, dict[Gender, tuple[str, ...]]] = {
    "com": {"m": ("com", "o"), "f": ("com", "a")},
    "em": {"m": ("no",), "f": ("na",)},
    "perto de": {"m": ("perto", "do"), "f": ("perto", "da")},
}
_PREPOSITIONS_EN: dict[Preposition, str] = {"com": "with", "em": "at", "perto de": "near"}
_PLACES_OF: dict[Preposition, Kind] = {"com": "person", "em": "place", "perto de": "place"}
MAX_ADJUNCTS = len(_CONTRACTIONS)


@dataclass(frozen=True)
class Sentence:
    """A sentence of the fragment.

    Its tokens are in lower case, for a capital on the first article would tell the head's gender to a model that
    knows nothing of order. The last token is the adjective without its ending, the question that a model answers.

    Args:
        subject: the person who acts.
        verb: what the person does.
        object: whom or what it is done to.
        head: ``"subject"`` or ``"object"``: the noun that comes first, and that the adjective describes.
        adjective: at the end.
        copula: *era* or *parecia*.
        neutral: the noun with *cada* ("each"), which does not tell the gender, in place of *o* or *a*; ``None`` for
            two articles.
        adjuncts: what makes the clause longer.

    Raises:
        ValueError: the subject is no person, the verb takes no such object, or the nouns are of one pair.
    """

    subject: Noun
    verb: Verb
    object: Noun
    head: Literal["subject", "object"]
    adjective: Adjective
    copula: str = "era"
    neutral: Literal["subject", "object"] | None = None
    adjuncts: tuple[Adjunct, ...] = ()

    def __post_init__(self) -> None:
        if self.subject.kind != "person":
            raise ValueError(f"the subject must be a person; got {self.subject.pt!r}, a {self.subject.kind}")
        if self.object.kind not in self.verb.objects:
            expected = " or ".join(self.verb.objects)
            raise ValueError(f"the object of {self.verb.pt!r} must be a {expected}; got {self.object.pt!r}")
        if self.subject.pair == self.object.pair:
            # The counterpart of one would be the other.
            raise ValueError(f"the nouns must be of two pairs; got {self.subject.pt!r} and {self.object.pt!r}")

    @property
    def head_noun(self) -> Noun:
        """The first noun."""
        return self.subject if self.head == "subject" else self.object

    @property
    def distractor(self) -> Noun:
        """The other noun of the clause."""
        return self.object if self.head == "subject" else self.subject

    @property
    def gender(self) -> Gender:
        """The gender of the head, which is the answer."""
        return self.head_noun.gender

    @property
    def tokens(self) -> tuple[str, ...]:
        """The words in lower case, the adjective without its ending."""
        return tuple(word for word, _ in self._words_and_roles)

    @property
    def roles(self) -> tuple[Role, ...]:
        """What each token does in the sentence; *determiner* is the head's article or *cada*."""
        return tuple(role for _, role in self._words_and_roles)

    @property
    def neutral_head(self) -> bool:
        """Whether the head stands with *cada*, so that only the noun itself tells its gender."""
        return self.neutral == self.head

    @property
    def twin(self) -> "Sentence":
        """The same words in another order, so that the other noun is the head, and the adjective agrees with it."""
        return replace(self, head="object" if self.head == "subject" else "subject")

    @property
    def with_other_head(self) -> "Sentence":
        """The sentence with its head replaced by the counterpart, which changes the answer."""
        if self.head == "subject":
            return replace(self, subject=self.subject.counterpart)
        return replace(self, object=self.object.counterpart)

    @property
    def with_other_distractor(self) -> "Sentence":
        """The sentence with its distractor replaced by the counterpart, which does not change the answer."""
        return self.twin.with_other_head.twin

    @property
    def english(self) -> str:
        """The translation."""
        subject = f"{'each' if self.neutral == 'subject' else 'the'} {self.subject.en}"
        thing = f"{'each' if self.neutral == 'object' else 'the'} {self.object.en}"
        clause = f"{subject} who {self.verb.en} {thing}"
        if self.head == "object":
            clause = f"{thing} {'who' if self.object.kind == 'person' else 'that'} {subject} {self.verb.en}"
        extra = "".join(f" {_PREPOSITIONS_EN[a.preposition]} the {a.noun.en}" for a in self.adjuncts)
        text = f"{clause}{extra} {COPULAS[self.copula]} {self.adjective.en}."
        return text[0].upper() + text[1:]

    def __str__(self) -> str:
        text = " ".join((*self.tokens[:-1], self.adjective.form(self.gender))) + "."
        return text[0].upper() + text[1:]

    @cached_property
    def _words_and_roles(self) -> list[tuple[str, Role]]:
        determiner, head = self._phrase(self.head)
        other_determiner, distractor = self._phrase("object" if self.head == "subject" else "subject")
        verb: list[tuple[str, Role]] = [(word, "verb") for word in self.verb.pt.split()]
        other: list[tuple[str, Role]] = [(other_determiner, "distractor's determiner"), (distractor, "distractor")]
        words: list[tuple[str, Role]] = [(determiner, "determiner"), (head, "head"), ("que", "que")]
        words += verb + other if self.head == "subject" else other + verb
        for adjunct in self.adjuncts:
            phrase = (*_CONTRACTIONS[adjunct.preposition][adjunct.noun.gender], adjunct.noun.pt)
            words += [(word, "adjunct") for word in phrase]
        return [*words, (self.copula, "copula"), (self.adjective.stem, "adjective")]

    def _phrase(self, which: Literal["subject", "object"]) -> tuple[str, str]:
        noun = self.subject if which == "subject" else self.object
        return "cada" if self.neutral == which else _ARTICLES[noun.gender], noun.pt


def agreement_sentences(
    n: int,
    generator: torch.Generator,
    *,
    split: Split = "train",
    n_adjuncts: tuple[int, ...] = (0, 1),
    conflict: bool | None = None,
) -> list[Sentence]:
    """Draw sentences of the fragment.

    Which two nouns may meet as head and distractor depends on the split, so no sentence belongs to both. A sentence's
    twin, and the sentence with another head or distractor, belong to the same split as the sentence.

    Args:
        n: how many, at least 1.
        generator: the source of all randomness.
        split: ``"train"`` or ``"test"``; about a fifth of all pairs of nouns are kept for the test.
        n_adjuncts: the numbers of adjuncts to choose from, 0 to 3; more make a longer clause.
        conflict: whether head and distractor differ in gender; half of the sentences do, unless given.

    Returns:
        ``n`` sentences; one may occur twice.

    Raises:
        ValueError: ``n`` below 1, an unknown split, or a number of adjuncts outside 0 to 3.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
    if not n_adjuncts or not all(0 <= number <= MAX_ADJUNCTS for number in n_adjuncts):
        raise ValueError(f"n_adjuncts must hold numbers from 0 to {MAX_ADJUNCTS}; got {n_adjuncts}")
    return [_draw(generator, split, pick(n_adjuncts, generator), conflict) for _ in range(n)]


def split_of(sentence: Sentence) -> Split:
    """The split that a sentence belongs to, by the pairs of its two nouns."""
    return "test" if (sentence.subject.pair + sentence.object.pair) % 5 == 2 else "train"


def _draw(generator: torch.Generator, split: Split, n_adjuncts: int, conflict: bool | None) -> Sentence:
    while True:
        verb = pick(VERBS, generator)
        kind = pick(verb.objects, generator)
        if kind == "place" and n_adjuncts == MAX_ADJUNCTS:
            continue  # what happens to a place happens there, so *em* is not used, and an adjunct is missing
        subject, thing = pick(_OF_KIND["person"], generator), pick(_OF_KIND[kind], generator)
        if subject.pair == thing.pair or (conflict is not None and conflict == (subject.gender == thing.gender)):
            continue
        sentence = Sentence(
            subject,
            verb,
            thing,
            head=pick(("subject", "object"), generator),
            adjective=pick(ADJECTIVES, generator),
            copula=pick(tuple(COPULAS), generator),
            neutral=pick((None, None, "subject", "object"), generator),
        )
        if split_of(sentence) == split:
            break
    orders = [order for order in combinations(_CONTRACTIONS, n_adjuncts) if kind != "place" or "em" not in order]
    taken, adjuncts = [subject.pair, thing.pair], []
    for preposition in pick(orders, generator):
        noun = pick([noun for noun in _OF_KIND[_PLACES_OF[preposition]] if noun.pair not in taken], generator)
        taken.append(noun.pair)
        adjuncts.append(Adjunct(preposition, noun))
    return replace(sentence, adjuncts=tuple(adjuncts))


_OF_KIND: dict[Kind, list[Noun]] = {
    kind: [noun for noun in NOUNS if noun.kind == kind] for kind in ("person", "thing", "place")
}


def _vocabulary() -> tuple[str, ...]:
    words = ["que", "cada", *_ARTICLES.values(), *COPULAS]
    words += [word for forms in _CONTRACTIONS.values() for form in forms.values() for word in form]
    words += [noun.pt for noun in NOUNS] + [word for verb in VERBS for word in verb.pt.split()]
    words += [adjective.stem for adjective in ADJECTIVES]
    return (PADDING, *sorted(set(words)))


PADDING = "·"

#: Every token, in the order of the numbers that stand for them; number 0 is the padding.
VOCABULARY = _vocabulary()

_IDS = {word: number for number, word in enumerate(VOCABULARY)}


def encode(sentences: Sequence[Sentence]) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch"]]:
    """Turn sentences into numbers, and their answers too.

    Args:
        sentences: at least one.

    Returns:
        The tokens' numbers ``(batch, seq)``, short sentences padded by 0 on the left, so that the adjective is always
        last; and the answers ``(batch,)``, 0 for masculine and 1 for feminine.

    Raises:
        ValueError: no sentences.
    """
    if not sentences:
        raise ValueError("sentences must hold at least one sentence; got none")
    rows = [[_IDS[token] for token in sentence.tokens] for sentence in sentences]
    longest = max(map(len, rows))
    token_ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    return token_ids, torch.tensor([int(sentence.gender == "f") for sentence in sentences])
