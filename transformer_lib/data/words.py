"""The fragment's verbs and further adjectives, and how they are inflected."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from transformer_lib.data.lexicon import ADJECTIVES, Adjective, Kind

Tense = Literal["present", "past", "habitual"]

# Forms for eu, ele (and você), nós, eles. What an entry leaves out is regular.
_IRREGULAR: dict[str, dict[str, str]] = {
    "dar": {"present": "dou dá damos dão", "past": "dei deu demos deram"},
    "ver": {"present": "vejo vê vemos veem", "past": "vi viu vimos viram", "participle": "visto"},
    "ler": {"present": "leio lê lemos leem", "past": "li leu lemos leram"},
    "rir": {"present": "rio ri rimos riem", "past": "ri riu rimos riram"},
    "sorrir": {"present": "sorrio sorri sorrimos sorriem", "past": "sorri sorriu sorrimos sorriram"},
    "trazer": {"present": "trago traz trazemos trazem", "past": "trouxe trouxe trouxemos trouxeram"},
    "dizer": {"present": "digo diz dizemos dizem", "past": "disse disse dissemos disseram"},
    "ser": {
        "present": "sou é somos são",
        "past": "fui foi fomos foram",
        "habitual": "era era éramos eram",
    },
    "estar": {"present": "estou está estamos estão", "past": "estive esteve estivemos estiveram"},
    "ter": {
        "present": "tenho tem temos têm",
        "past": "tive teve tivemos tiveram",
        "habitual": "tinha tinha tínhamos tinham",
    },
    "ir": {"present": "vou vai vamos vão", "past": "fui foi fomos foram"},
    "querer": {"present": "quero quer queremos querem", "past": "quis quis quisemos quiseram"},
    "poder": {"present": "posso pode podemos podem", "past": "pude pôde pudemos puderam"},
    "saber": {"present": "sei sabe sabemos sabem", "past": "soube soube soubemos souberam"},
    "perder": {"present": "perco perde perdemos perdem"},
    "pedir": {"present": "peço pede pedimos pedem"},
    "medir": {"present": "meço mede medimos medem"},
    "ouvir": {"present": "ouço ouve ouvimos ouvem"},
    "servir": {"present": "sirvo serve servimos servem"},
    "seguir": {"present": "sigo segue seguimos seguem"},
    "dormir": {"present": "durmo dorme dormimos dormem"},
    "cobrir": {"present": "cubro cobre cobrimos cobrem", "participle": "coberto"},
    "descobrir": {"present": "descubro descobre descobrimos descobrem", "participle": "descoberto"},
    "escrever": {"participle": "escrito"},
    "descrever": {"participle": "descrito"},
    "traduzir": {"present": "traduzo traduz traduzimos traduzem"},
    "imprimir": {"participle": "impresso"},
    "proteger": {"present": "protejo protege protegemos protegem"},
    "construir": {
        "present": "construo constrói construímos constroem",
        "past": "construí construiu construímos construíram",
        "habitual": "construía construía construíamos construíam",
        "participle": "construído",
    },
    "destruir": {
        "present": "destruo destrói destruímos destroem",
        "past": "destruí destruiu destruímos destruíram",
        "habitual": "destruía destruía destruíamos destruíam",
        "participle": "destruído",
    },
    "sair": {
        "present": "saio sai saímos saem",
        "past": "saí saiu saímos saíram",
        "habitual": "saía saía saíamos saíam",
    },
    "cair": {
        "present": "caio cai caímos caem",
        "past": "caí caiu caímos caíram",
        "habitual": "caía caía caíamos caíam",
    },
}
_ENDINGS: dict[str, dict[Tense, str]] = {
    "ar": {"present": "o a amos am", "past": "ei ou amos aram", "habitual": "ava ava ávamos avam"},
    "er": {"present": "o e emos em", "past": "i eu emos eram", "habitual": "ia ia íamos iam"},
    "ir": {"present": "o e imos em", "past": "i iu imos iram", "habitual": "ia ia íamos iam"},
}


def conjugate(infinitive: str, tense: Tense, slot: int) -> str:
    """A finite form of a Portuguese verb.

    Args:
        infinitive: *comprar*, *ler*, …
        tense: ``"present"``, ``"past"`` (the perfect: *comprou*), or ``"habitual"`` (the imperfect: *comprava*).
        slot: 0 for *eu*, 1 for *ele*, *ela* and *você*, 2 for *nós*, 3 for *eles* and *elas*.
    """
    if tense in _IRREGULAR.get(infinitive, {}):
        return _IRREGULAR[infinitive][tense].split()[slot]
    stem, ending = infinitive[:-2], _ENDINGS[infinitive[-2:]][tense].split()[slot]
    # The spelling keeps the sound of the stem's last consonant: toquei, cheguei, abracei; conheço.
    if ending[0] == "e" and infinitive.endswith(("car", "gar", "çar")):
        stem = stem[:-1] + {"c": "qu", "g": "gu", "ç": "c"}[stem[-1]]
    if ending == "o" and infinitive.endswith("cer"):
        stem = stem[:-1] + "ç"
    return stem + ending


def gerund(infinitive: str) -> str:
    """*comprando*, *lendo*, *abrindo*."""
    return infinitive[:-1] + "ndo"


def participle(infinitive: str) -> Adjective:
    """*comprado* and *comprada*, *escrito* and *escrita*: it agrees, as an adjective does."""
    regular = infinitive[:-2] + ("ado" if infinitive.endswith("ar") else "ido")
    masculine = _IRREGULAR.get(infinitive, {}).get("participle", regular)
    return Adjective(masculine, masculine[:-1] + "a", "")


@dataclass(frozen=True)
class Action:
    """A verb of the fragment.

    Args:
        en: the English base form; what follows the first word is a particle, as in *wait for*.
        past: the English past; regular unless given.
        en_participle: the English past participle; like the past unless given.
        pt: the Portuguese infinitive.
        objects: the kinds of its object; none if it takes none.
    """

    en: str
    past: str
    en_participle: str
    pt: str
    objects: tuple[Kind, ...]

    @cached_property
    def third(self) -> str:
        """*gives*, *carries*, *waits for*."""
        first, *rest = self.en.split()
        if first[-1] == "y" and first[-2] not in "aeiou":
            first = first[:-1] + "ie"
        elif first.endswith(("s", "sh", "ch", "x")):
            first += "e"
        return " ".join((first + "s", *rest))

    @cached_property
    def ing(self) -> str:
        """*giving*, *swimming*, *waiting for*."""
        first, *rest = self.en.split()
        if first in ("swim", "run", "hug", "forget"):
            first += first[-1]
        elif first.endswith("e") and not first.endswith("ee"):
            first = first[:-1]
        return " ".join((first + "ing", *rest))


def _regular_past(base: str) -> str:
    first, *rest = base.split()
    if first[-1] == "y" and first[-2] not in "aeiou":
        first = first[:-1] + "i"
    if first == "hug":
        first += "g"
    return " ".join((first.removesuffix("e") + "ed", *rest))


def _actions(table: str) -> tuple[Action, ...]:
    actions = []
    for entry in table.split(","):
        english, portuguese, *kinds = entry.split("|")
        base, *parts = english.strip().replace("_", " ").split("/")
        past = parts[0] if parts else _regular_past(base)
        objects = tuple(_KINDS[letter] for letter in kinds[0].strip()) if kinds else ()
        actions.append(Action(base, past, parts[1] if parts[1:] else past, portuguese.strip(), objects))
    return tuple(actions)


_KINDS: dict[str, Kind] = {"p": "person", "t": "thing", "l": "place", "a": "animal", "x": "text", "f": "food"}

#: Verbs that tell of a state or a moment: they stand in no progressive …
STATES = frozenset(("know", "love", "admire", "recognize", "hear", "see", "find", "meet", "forget", "receive", "lose"))
#: … and a past state is told in the imperfect: *he knew*, *ele sabia*.
LASTING = frozenset({"saber", "conhecer", "amar"})

#: Verbs with an object.
TRANSITIVE = _actions(
    """buy/bought|comprar|txfa, sell/sold|vender|txfa, lose/lost|perder|tx, find/found|achar|txa,
        hide/hid/hidden|esconder|txf, bring/brought|trazer|txf, meet/met|encontrar|p, wait_for/waited for|esperar|p,
        recognize|reconhecer|pl, visit|visitar|pl, look_for/looked for|procurar|ptxal, see/saw/seen|ver|ptxalf,
        observe|observar|pla, describe|descrever|ptxal, draw/drew/drawn|desenhar|ptla, photograph|fotografar|ptlaf,
        clean|limpar|tl, break/broke/broken|quebrar|t, carry|carregar|tf, paint|pintar|tlp, wash|lavar|tf,
        read/read|ler|x, write/wrote/written|escrever|x, translate|traduzir|x, print|imprimir|x, study|estudar|x,
        eat/ate/eaten|comer|f, cook|cozinhar|f, prepare|preparar|f, burn|queimar|txf, help|ajudar|pa,
        know/knew/known|conhecer|pl, love|amar|pa, invite|convidar|p, follow|seguir|pa, call|chamar|pa,
        kiss|beijar|p, hug|abraçar|pa, feed/fed|alimentar|a, hear/heard|ouvir|pa, protect|proteger|pal,
        admire|admirar|pxl, forget/forgot/forgotten|esquecer|ptx, take/took/taken|levar|txf, push|empurrar|tp,
        receive|receber|tx, steal/stole/stolen|roubar|txfa, choose/chose/chosen|escolher|txfla, touch|tocar|ta,
        build/built|construir|l, destroy|destruir|tl, discover|descobrir|l, cover|cobrir|tf, measure|medir|t,
        copy|copiar|x, repair|consertar|t"""
)

#: Verbs with a thing that passes to a person.
DITRANSITIVE = _actions(
    """give/gave/given|dar|txfa, show/showed/shown|mostrar|txa, lend/lent|emprestar|tx, send/sent|enviar|txf,
        offer/offered|oferecer|txf, sell/sold|vender|txfa, serve|servir|f, read/read|ler|x"""
)

#: Verbs without an object.
INTRANSITIVE = _actions(
    """sleep/slept|dormir, arrive|chegar, run/ran/run|correr, dance|dançar, sing/sang/sung|cantar, work|trabalhar,
        laugh|rir, cry|chorar, leave/left|sair, travel/traveled|viajar, smile|sorrir, fall/fell/fallen|cair,
        swim/swam/swum|nadar, play|brincar, speak/spoke/spoken|falar, return|voltar, disappear|desaparecer,
        rest|descansar"""
)

#: Verbs with a sentence that begins with *que*.
COMPLEMENT = _actions(
    """say/said|dizer, think/thought|achar, know/knew/known|saber, believe|acreditar, answer/answered|responder"""
)

#: Verbs with an infinitive; *can* and *must* follow other rules in English, and stand apart.
WANTING = _actions(
    """want_to/wanted to|querer, need_to/needed to|precisar, try_to/tried to|tentar, decide_to/decided to|decidir"""
)


def _adjectives(table: str) -> tuple[Adjective, ...]:
    entries = []
    for entry in table.split(","):
        *forms, english = entry.split()
        entries.append(Adjective(forms[0], forms[-1], english))
    return tuple(entries)


#: Adjectives that stand before the noun.
BEFORE = _adjectives(
    """novo nova new, bom boa good, mau má bad, grande great, primeiro primeira first, último última last,
    segundo segunda second, outro outra other, mesmo mesma same"""
)

_ANY = tuple(adjective for adjective in ADJECTIVES if adjective.en != "new") + _adjectives(
    """interessante interesting, importante important, perfeito perfeita perfect, diferente different,
    simples simple, impressionante impressive, excelente excellent"""
)

#: Adjectives that stand after the noun, by the kinds that they suit.
AFTER: dict[Kind, tuple[Adjective, ...]] = {
    "person": _ANY
    + _adjectives(
        """feliz happy, triste sad, inteligente intelligent, corajoso corajosa brave, gentil kind, jovem young,
        rico rica rich, pobre poor, alto alta tall, forte strong, cuidadoso cuidadosa careful, tímido tímida shy,
        cansado cansada tired, ocupado ocupada busy, doente ill, preocupado preocupada worried"""
    ),
    "thing": _ANY
    + _adjectives(
        """vermelho vermelha red, preto preta black, branco branca white, verde green, amarelo amarela yellow,
        azul blue, pesado pesada heavy, leve light, caro cara expensive, barato barata cheap, redondo redonda round,
        útil useful, frágil fragile, quebrado quebrada broken, limpo limpa clean, sujo suja dirty"""
    ),
    "text": _ANY
    + _adjectives(
        """longo longa long, curto curta short, difícil difficult, fácil easy, útil useful, antigo antiga ancient,
        completo completa complete"""
    ),
    "food": _ANY[-7:]
    + _adjectives(
        """delicioso deliciosa delicious, fresco fresca fresh, doce sweet, caro cara expensive, barato barata cheap,
        quente hot, frio fria cold, pronto pronta ready"""
    ),
    "place": _ANY
    + _adjectives(
        """tranquilo tranquila quiet, distante distant, escuro escura dark, antigo antiga ancient, agradável pleasant,
        vazio vazia empty, cheio cheia full, fechado fechada closed"""
    ),
    "animal": _ANY
    + _adjectives(
        """preto preta black, branco branca white, selvagem wild, faminto faminta hungry, rápido rápida fast,
        lento lenta slow, forte strong, dócil docile, cansado cansada tired"""
    ),
}

#: What passes is said with *estar*, and what lasts with *ser*.
PASSING = frozenset(
    (
        "tired",
        "busy",
        "ill",
        "worried",
        "broken",
        "clean",
        "dirty",
        "hot",
        "cold",
        "ready",
        "empty",
        "full",
        "closed",
        "hungry",
    )
)
