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
    "vir": {
        "present": "venho vem vimos vêm",
        "past": "vim veio viemos vieram",
        "habitual": "vinha vinha vínhamos vinham",
    },
    "fazer": {"present": "faço faz fazemos fazem", "past": "fiz fez fizemos fizeram", "participle": "feito"},
    "abrir": {"participle": "aberto"},
    "sentir": {"present": "sinto sente sentimos sentem"},
    "preferir": {"present": "prefiro prefere preferimos preferem"},
    "vestir": {"present": "visto veste vestimos vestem"},
    "odiar": {"present": "odeio odeia odiamos odeiam"},
    "conseguir": {"present": "consigo consegue conseguimos conseguem"},
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
        infinitive: *comprar*, *ler*, …; what follows the first word, as in *tomar banho*, stays as it is.
        tense: ``"present"``, ``"past"`` (the perfect: *comprou*), or ``"habitual"`` (the imperfect: *comprava*).
        slot: 0 for *eu*, 1 for *ele*, *ela* and *você*, 2 for *nós*, 3 for *eles* and *elas*.
    """
    infinitive, _, rest = infinitive.partition(" ")
    if rest:
        return f"{conjugate(infinitive, tense, slot)} {rest}"
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
    """*comprando*, *lendo*, *abrindo*, *tomando banho*."""
    verb, space, rest = infinitive.partition(" ")
    return verb[:-1] + "ndo" + space + rest


def imperative(infinitive: str) -> str:
    """What *você* is told to do: *compre*, *leia*, *dê*; made from the present of *eu*, but for a few."""
    if infinitive in _IMPERATIVES:
        return _IMPERATIVES[infinitive]
    stem = conjugate(infinitive, "present", 0)[:-1]
    if not infinitive.endswith("ar"):
        return stem + "a"
    if infinitive.endswith(("car", "gar", "çar")):
        stem = stem[:-1] + {"c": "qu", "g": "gu", "ç": "c"}[stem[-1]]
    return stem + "e"


_IMPERATIVES = {"dar": "dê", "estar": "esteja", "ser": "seja", "ir": "vá", "saber": "saiba", "querer": "queira"}


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
        if first == "have":
            first = "ha"
        elif first[-1] == "y" and first[-2] not in "aeiou":
            first = first[:-1] + "ie"
        elif first.endswith(("s", "sh", "ch", "x")) or first in ("go", "do"):
            first += "e"
        return " ".join((first + "s", *rest))

    @cached_property
    def ing(self) -> str:
        """*giving*, *swimming*, *waiting for*."""
        first, *rest = self.en.split()
        if first in ("swim", "run", "hug", "forget", "get", "sit", "stop", "put", "cut", "begin"):
            first += first[-1]
        elif first in ("lie", "die"):
            first = first[:-2] + "y"
        elif first.endswith("e") and not first.endswith("ee"):
            first = first[:-1]
        return " ".join((first + "ing", *rest))


def _regular_past(base: str) -> str:
    first, *rest = base.split()
    if first[-1] == "y" and first[-2] not in "aeiou":
        first = first[:-1] + "i"
    if first in ("hug", "stop"):
        first += first[-1]
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
STATES = frozenset(
    """know love admire recognize hear see find meet forget receive lose
    have like want need understand prefer believe hate belong cost mean remember own""".split()
)
#: … and a past state is told in the imperfect: *he knew*, *ele sabia*.
LASTING = frozenset({"saber", "conhecer", "amar", "ter", "querer", "precisar", "morar", "odiar", "preferir"})

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


#: Verbs with an object that only the everyday part knows.
EVERYDAY_TRANSITIVE = _actions(
    """have/had|ter|ptxaf, want/wanted|querer|txf, open|abrir|tx, close|fechar|t, make/made|fazer|f, use|usar|t,
        wear/wore/worn|usar|t, understand/understood|entender|px,
        learn|aprender|x, teach/taught|ensinar|x, finish|terminar|x, begin/began/begun|começar|x,
        leave/left|deixar|t, keep/kept|guardar|tx, put/put|colocar|t, get/got|pegar|t,
        rent|alugar|tl, prefer/preferred|preferir|txf, hate|odiar|txfa, try|experimentar|f,
        order|pedir|f, cut/cut|cortar|f, catch/caught|pegar|ta, sign|assinar|x, kick|chutar|t, pull|puxar|t,
        cross|atravessar|l, hold/held|segurar|ta, lock|trancar|t,
        throw/threw/thrown|jogar|t, win/won|ganhar|t, explain|explicar|x,
        spell/spelled|soletrar|x, enjoy/enjoyed|aproveitar|x, listen_to|escutar|p, ask_for|pedir|f"""
)

#: Everyday verbs without an object, or with one that is always the same.
EVERYDAY_INTRANSITIVE = _actions(
    """walk|andar, wait|esperar, eat/ate/eaten|comer, read/read|ler, study|estudar, live|morar,
    drive/drove/driven|dirigir,
        think/thought|pensar, wake_up/woke up/woken up|acordar, drink/drank/drunk|beber, learn|aprender, cook|cozinhar,
        get_up/got up|levantar, stay|ficar, stop|parar, talk|conversar, write/wrote/written|escrever, jump|pular,
        win/won|ganhar, exercise|fazer exercício, go_out/went out/gone out|sair, come_back/came back/come back|voltar,
        go_shopping/went shopping/gone shopping|fazer compras, have_breakfast/had breakfast|tomar café da manhã,
        have_lunch/had lunch|almoçar, have_dinner/had dinner|jantar,
        take_a_shower/took a shower/taken a shower|tomar banho,
        play_soccer|jogar futebol, play_football|jogar futebol, play_tennis|jogar tênis, play_cards|jogar cartas,
        play_the_piano|tocar piano, play_the_guitar|tocar violão, play_video_games|jogar videogame,
        play_games|jogar jogos, listen_to_music|ouvir música, watch_TV|assistir televisão,
        watch_television|assistir televisão, watch_movies|assistir filmes, watch_a_movie|assistir um filme,
        watch_the_movie|assistir o filme, watch_the_game|assistir o jogo,
        drive_the_car/drove the car/driven the car|dirigir o carro,
        read_books|ler livros, take_a_picture/took a picture/taken a picture|tirar uma foto,
        take_pictures/took pictures/taken pictures|tirar fotos, take_photos/took photos/taken photos|tirar fotos,
        take_the_bus/took the bus/taken the bus|pegar o ônibus,
        do_homework/did homework/done homework|fazer a lição de casa,
        speak_English/spoke English/spoken English|falar inglês,
        speak_Portuguese/spoke Portuguese/spoken Portuguese|falar português,
        speak_Spanish/spoke Spanish/spoken Spanish|falar espanhol, learn_Portuguese|aprender português,
        learn_English|aprender inglês, study_Portuguese|estudar português, study_English|estudar inglês,
        ride_a_bicycle/rode a bicycle/ridden a bicycle|andar de bicicleta,
        ride_a_bike/rode a bike/ridden a bike|andar de bicicleta,
        drive_a_car/drove a car/driven a car|dirigir um carro, make_dinner/made dinner|fazer o jantar,
        make_a_cake/made a cake|fazer um bolo, make_coffee/made coffee|fazer café,
        take_a_walk/took a walk/taken a walk|dar uma volta,
        do_the_dishes/did the dishes/done the dishes|lavar a louça, clean_the_house|limpar a casa,
        wash_the_dishes|lavar a louça, pay_the_bill/paid the bill|pagar a conta,
        ask_a_question|fazer uma pergunta, make_a_mistake/made a mistake|cometer um erro,
        shout|gritar, smoke|fumar, fight/fought|brigar, die|morrer, grow/grew/grown|crescer, dream|sonhar,
        fly/flew/flown|voar,
        relax|relaxar, spend_money/spent money|gastar dinheiro, save_money|economizar dinheiro,
        take_a_taxi/took a taxi/taken a taxi|pegar um táxi,
        swim_in_the_sea/swam in the sea/swum in the sea|nadar no mar, brush_your_teeth|escovar os dentes,
        fall_asleep/fell asleep/fallen asleep|adormecer, run_fast/ran fast/run fast|correr rápido"""
)

#: Verbs whose Portuguese object has a preposition.
PREPOSITIONAL = _actions(
    """like|gostar de|ptxalf, need|precisar de|ptxf, think_about/thought about|pensar em|ptx,
    dream_about|sonhar com|pta,
        talk_about|falar sobre|ptx, look_at|olhar para|ptxa, take_care_of/took care of/taken care of|cuidar de|pa,
        believe_in|acreditar em|p, laugh_at|rir de|p, talk_to|conversar com|p, speak_to/spoke to/spoken to|falar com|p,
        play_with|brincar com|pat, live_with|morar com|p, travel_with|viajar com|p, work_with|trabalhar com|p,
        study_with|estudar com|p, agree_with|concordar com|p, miss|sentir falta de|pt, remember|lembrar de|ptl,
        pay_for/paid for|pagar por|tf"""
)

#: Verbs of a way, with the Portuguese preposition of where it leads, or of where something is.
MOTION = _actions(
    """go_to/went to/gone to|ir para, come_to/came to/come to|vir para, return_to|voltar para, walk_to|andar até,
        run_to/ran to/run to|correr para, travel_to/traveled to|viajar para, live_in|morar em, work_in|trabalhar em,
        study_in|estudar em, arrive_at|chegar em, drive_to/drove to/driven to|dirigir até, move_to|mudar para,
        stay_in|ficar em, leave/left|sair de, come_from/came from/come from|vir de,
        go_back_to/went back to/gone back to|voltar para,
        sleep_in/slept in|dormir em, eat_in/ate in/eaten in|comer em"""
)

#: Verbs before an infinitive that only the everyday part knows.
EVERYDAY_WANTING = _actions(
    """want_to/wanted to|querer, need_to/needed to|precisar, have_to/had to|ter que, like_to|gostar de, love_to|adorar,
        try_to/tried to|tentar, decide_to/decided to|decidir, begin_to/began to|começar a, start_to|começar a,
        learn_to|aprender a, forget_to/forgot to/forgotten to|esquecer de, hope_to|esperar,
        prefer_to/preferred to|preferir,
        plan_to/planned to|planejar"""
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
    """happy sad tired busy ill worried broken clean dirty hot cold ready empty full closed hungry
    sick open angry late lost alone right wrong fine bored excited nervous surprised scared crowded thirsty""".split()
)
