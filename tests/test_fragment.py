"""The fragment's translations: one for each sentence, right in grammar by rules written here again, splits apart."""

import re
from collections import Counter
from itertools import pairwise

import pytest
import torch

from transformer_lib.data import Pair, everyday_pairs, everyday_test, fragment_pairs
from transformer_lib.data.fragment import MAX_WORDS, TRAIN_WORDS, FragmentSplit
from transformer_lib.data.lexicon import ALL_NOUNS, english_plural, portuguese_plural
from transformer_lib.data.pairs import careless, joined
from transformer_lib.data.words import Action, conjugate, gerund, imperative, participle

SPLITS: tuple[FragmentSplit, ...] = ("train", "combinations", "longer", "deeper")


def draw(n: int, split: FragmentSplit = "train", seed: int = 0) -> list[Pair]:
    return fragment_pairs(n, torch.Generator().manual_seed(seed), split=split)


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[Pair]]:
    drawn = {split: draw(200 if split == "deeper" else 3000, split) for split in SPLITS}
    return drawn | {"everyday": everyday_pairs(8000, torch.Generator().manual_seed(0))}


def test_a_sentence_has_one_translation(corpus):
    pairs = {pair for split in corpus.values() for pair in split} | set(draw(20_000, seed=1))
    pairs |= set(everyday_pairs(20_000, torch.Generator().manual_seed(1)))
    assert len({pair.english for pair in pairs}) == len(pairs)


def test_the_running_sentence_is_one_of_them():
    wanted = "The book that you gave me was interesting."
    # Its pieces, each drawn somewhere; the sentence itself is one of millions.
    assert _translate_running() == Pair(wanted, "O livro que você me deu era interessante.")


def _translate_running() -> Pair:
    """Let the grammar write the running sentence, by answering each of its choices."""
    from transformer_lib.data import fragment

    grammar = fragment._Grammar(torch.Generator())
    noun = fragment._Subject("the book", "o livro", noun="book", kind="text", gender="m")
    answers = iter(["give", fragment._YOU, ("me", "me"), "past", "interesting", "past"])

    def choose(choices, generator):
        wanted = next(answers)
        return next(c for c in choices if c == wanted or getattr(c, "en", None) == wanted)

    # It is a gift, the subject a pronoun, nothing is denied, no adverb, *that* stays, and nothing is compared.
    chances = iter([True, True, False, False, False, False, False])
    patch = pytest.MonkeyPatch()
    patch.setattr(fragment, "pick", choose)
    patch.setattr(grammar, "chance", lambda probability: next(chances))
    try:
        clause = grammar.object_relative(noun, "that", 0)
        quality = grammar.quality(noun)
    finally:
        patch.undo()
    english, portuguese = f"{noun.en} {clause.en} {quality.en}.", f"{noun.pt} {clause.pt} {quality.pt}."
    return Pair(english.capitalize(), portuguese.capitalize())


ARTICLES = {"o": ("m", False), "a": ("f", False), "os": ("m", True), "as": ("f", True)}
ARTICLES |= {
    f"{first}{article}": ARTICLES[article] for first in ("d", "n", "pel") for article in ("o", "a", "os", "as")
}
ARTICLES |= {"um": ("m", False), "uma": ("f", False), "ao": ("m", False), "à": ("f", False)}
ARTICLES |= {"aos": ("m", True), "às": ("f", True), "alguns": ("m", True), "algumas": ("f", True)}
ARTICLES |= {"dois": ("m", True), "duas": ("f", True)}
NOUNS = {noun.pt: (noun.gender, False) for noun in ALL_NOUNS} | {
    portuguese_plural(noun.pt): (noun.gender, True) for noun in ALL_NOUNS
}
ALIKE = {"lápis", "ônibus", "tênis"}  # in singular and plural
NOUNS |= dict.fromkeys(ALIKE, ("m", None))
for noun in ALL_NOUNS:
    if noun.pt == noun.counterpart.pt:  # *o motorista*, *a motorista*
        NOUNS.pop(noun.pt, None)
        NOUNS.pop(portuguese_plural(noun.pt), None)


def test_articles_agree_with_the_nouns_behind_them(corpus):
    checked = 0
    for pair in corpus["train"] + corpus["longer"] + corpus["everyday"]:
        words = re.findall(r"\w+", pair.portuguese.lower())
        for article, noun in pairwise(words):
            if article in ARTICLES and noun in NOUNS:
                gender, plural = NOUNS[noun]
                assert ARTICLES[article][0] == gender, pair
                assert plural is None or ARTICLES[article][1] == plural, pair
                checked += 1
    assert checked > 3000


def test_prepositions_are_joined_with_articles(corpus):
    apart = re.compile(r"\b(de|em|por) (o|a|os|as)\b|\b(de|em) (este|esta|aquele|aquela)s?\b|\ba (o|os|as)\b")
    for split in corpus.values():
        for pair in split:
            assert not apart.search(pair.portuguese.lower()), pair


def test_pronouns_stand_before_the_verb_and_agree_with_what_they_stand_for(corpus):
    checked = 0
    for pair in corpus["train"]:
        pronoun = re.search(r" (o|a|os|as) (\w+)\.$", pair.portuguese)
        if pronoun and re.search(r" (it|them)\.$", pair.english):
            nouns = [word for word in re.findall(r"\w+", pair.portuguese) if word in NOUNS and word not in ALIKE]
            assert pronoun[2] not in NOUNS, pair
            assert ARTICLES[pronoun[1]] in {NOUNS[noun] for noun in nouns} or ALIKE & set(pair.portuguese.split()), pair
            assert ARTICLES[pronoun[1]][1] == pair.english.endswith("them."), pair
            checked += 1
    assert checked > 50


def test_everyday_sentences_hold_nothing_that_the_fragment_holds_out(corpus):
    from transformer_lib.data.fragment import _held_out

    english = "\n".join(pair.english.lower() for pair in corpus["everyday"])
    links = [f"{color} {noun.en}" for color in ("red", "black", "big", "new") for noun in ALL_NOUNS]
    held_out = [link for link in links if _held_out(link)]
    assert len(held_out) > 20
    for link in held_out:
        assert not re.search(rf"\b{link}\b", english), link
    assert max(len(pair.english.split()) for pair in corpus["everyday"]) == TRAIN_WORDS
    assert not {pair.english for pair in corpus["everyday"]} & {pair.english for pair in corpus["longer"]}


@pytest.mark.parametrize(
    ("wanted", "english"),
    [
        ("gost", r"\b(likes?|liked) \w+"),
        ("vai|vou|vamos|vão", r"\bgoing to (be|buy|see|have|find|like|read|eat|need|drink|go|sell)\b"),
        ("tem|têm|tenho|temos", r"\byears old\b"),
        ("não|nunca", r"n't\b"),
        ("por favor", r"\b[Pp]lease\b"),
        ("com fome|com sede|com sono", r"(?i)\b(I|he|she|we|they|you) (am|is|are) (not )?(hungry|thirsty|sleepy)\b"),
        ("anteontem|ontem", r"\byesterday\b"),
        ("Onde|onde", r"^Where\b"),
    ],
)
def test_everyday_english_is_said_as_portuguese_says_it(corpus, wanted, english):
    found = [pair for pair in corpus["everyday"] if re.search(english, pair.english)]
    assert len(found) >= 10
    for pair in found:
        assert re.search(wanted, pair.portuguese, re.IGNORECASE), pair


def test_the_everyday_test_is_a_list_of_sentences_with_translations():
    test = everyday_test()
    assert len(test) == len({english for english, _ in test}) == 36
    for english, accepted in test:
        assert english
        assert len(set(accepted)) == len(accepted) > 0, english
        assert all(text[-1] == english[-1] for text in accepted), english


def test_no_sentence_of_the_everyday_test_is_drawn(monkeypatch):
    from transformer_lib.data import everyday

    def letters():
        pairs = everyday_pairs(4000, torch.Generator().manual_seed(2))
        return Counter(re.sub("[^a-z]", "", pair.english.lower().replace("it's", "it is")) for pair in pairs)

    assert min(letters()[text] for text in ("goodnight", "itistoolate")) > 1
    monkeypatch.setattr(everyday, "everyday_test", lambda: [("Good night!", ()), ("it is too LATE", ())])
    assert not {"goodnight", "itistoolate"} & set(letters())


def test_pairs_are_joined_and_typed_carelessly():
    pairs = draw(1000)
    couples = joined(pairs, 0.4, torch.Generator().manual_seed(0))
    assert len(couples) == 800
    assert sorted(" ".join(pair.english for pair in couples).split()) == sorted(
        " ".join(pair.english for pair in pairs).split()
    )
    whole = {pair.english: pair.portuguese for pair in pairs}
    for english, portuguese in couples[600:]:
        parts = [(first, english[len(first) + 1 :]) for first in whole if english.startswith(first + " ")]
        assert portuguese in {f"{whole[one]} {whole[two]}" for one, two in parts if two in whole}
    typed = careless(pairs, 0.25, torch.Generator().manual_seed(0))
    lower = [new for new, old in zip(typed, pairs, strict=True) if new.english[0] != old.english[0]]
    ends = [new for new, old in zip(typed, pairs, strict=True) if new.portuguese != old.portuguese]
    assert 200 < len(lower) < 300
    assert 120 < len(ends) < 300  # questions keep their mark
    assert all(not text.endswith(".") for pair in ends for text in pair)
    assert joined(pairs, 0.0, torch.Generator()) != pairs
    assert careless(pairs, 0.0, torch.Generator()) == pairs
    for share in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"share must be from 0 to 1; got {share}"):
            joined(pairs, share, torch.Generator())


def test_splits_are_what_they_say(corpus):
    for name in ("train", "combinations"):
        assert max(len(pair.english.split()) for pair in corpus[name]) == TRAIN_WORDS
    lengths = [len(pair.english.split()) for pair in corpus["longer"]]
    assert min(lengths) > TRAIN_WORDS
    assert max(lengths) <= MAX_WORDS
    english = {name: {pair.english for pair in pairs} for name, pairs in corpus.items()}
    for name in SPLITS[1:]:
        assert not english["train"] & english[name]


def test_unseen_combinations_are_made_of_words_that_training_knows(corpus):
    known = Counter(word for pair in draw(20_000, seed=3) for word in re.findall(r"\w+", pair.english.lower()))
    unknown = {word for pair in corpus["combinations"] for word in re.findall(r"\w+", pair.english.lower())} - set(
        known
    )
    assert not unknown


def test_held_out_links_never_occur_in_training():
    from transformer_lib.data.fragment import _held_out

    links = [f"{color} {noun.en}" for color in ("red", "heavy", "blue") for noun in ALL_NOUNS if noun.kind == "thing"]
    held_out = [link for link in links if _held_out(link)]
    assert held_out
    text = "\n".join(pair.english.lower() for pair in draw(20_000, seed=4))
    for link in held_out:
        assert not re.search(rf"\b{link}\b", text)


VERBS = """
comprar: compro compra compramos compram, comprei comprou compramos compraram, comprava compravam
conhecer: conheço conhece conhecemos conhecem, conheci conheceu conhecemos conheceram, conhecia conheciam
tocar: toco toca tocamos tocam, toquei tocou tocamos tocaram, tocava tocavam
carregar: carrego carrega carregamos carregam, carreguei carregou carregamos carregaram, carregava carregavam
abraçar: abraço abraça abraçamos abraçam, abracei abraçou abraçamos abraçaram, abraçava abraçavam
ler: leio lê lemos leem, li leu lemos leram, lia liam
construir: construo constrói construímos constroem, construí construiu construímos construíram, construía construíam
ouvir: ouço ouve ouvimos ouvem, ouvi ouviu ouvimos ouviram, ouvia ouviam
dizer: digo diz dizemos dizem, disse disse dissemos disseram, dizia diziam
"""


@pytest.mark.parametrize("line", VERBS.strip().splitlines())
def test_verbs(line):
    verb, forms = line.split(": ")
    present, past, habitual = forms.split(", ")
    assert " ".join(conjugate(verb, "present", slot) for slot in range(4)) == present
    assert " ".join(conjugate(verb, "past", slot) for slot in range(4)) == past
    assert " ".join(conjugate(verb, "habitual", slot) for slot in (1, 3)) == habitual


def test_other_forms():
    commanded = "comprar ler dar ir tocar chegar abraçar conhecer trazer dormir ver proteger tomar sair"
    asked = "compre leia dê vá toque chegue abrace conheça traga durma veja proteja tome saia"
    assert " ".join(map(imperative, commanded.split())) == asked
    assert [gerund(verb) for verb in ("dar", "ler", "sair")] == ["dando", "lendo", "saindo"]
    assert [participle(verb).form("f", plural=True) for verb in ("comprar", "comer", "escrever", "ver")] == [
        "compradas", "comidas", "escritas", "vistas",
    ]  # fmt: skip
    singular = "irmão botão animal anel fácil lençol jardim flor feliz azul útil leão"
    plural = "irmãos botões animais anéis fáceis lençóis jardins flores felizes azuis úteis leões"
    assert " ".join(map(portuguese_plural, singular.split())) == plural
    assert (
        " ".join(map(english_plural, ["box", "story", "man", "boy", "watch", "knife"]))
        == "boxes stories men boys watches knives"
    )
    assert [Action(base, "", "", "", ()).ing for base in ("give", "run", "see", "look for", "carry", "forget")] == [
        "giving", "running", "seeing", "looking for", "carrying", "forgetting",
    ]  # fmt: skip
    assert [Action(base, "", "", "", ()).third for base in ("carry", "push", "wait for", "buy")] == [
        "carries", "pushes", "waits for", "buys",
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_sentences():
    assert draw(50, seed=7) == draw(50, seed=7)
    assert draw(50, seed=7) != draw(50, seed=8)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="n must be at least 1; got 0"):
        draw(0)
    with pytest.raises(ValueError, match="n must be at least 1; got 0"):
        everyday_pairs(0, torch.Generator())
    with pytest.raises(ValueError, match="split must be one of train, combinations, longer, deeper; got 'dev'"):
        draw(1, "dev")  # type: ignore[arg-type]
