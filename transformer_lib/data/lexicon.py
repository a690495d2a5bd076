"""The words that both uses of the Portuguese fragment share: nouns and adjectives, their forms, and drawing among them.

Chapter 4's agreement sentences use the first nouns and adjectives; the sentence pairs of chapter 10 use more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

Gender = Literal["m", "f"]
Kind = Literal["person", "thing", "place", "animal", "text", "food"]
T = TypeVar("T")


def pick(choices: Sequence[T], generator: torch.Generator) -> T:
    """Draw one of ``choices``, each as likely as another."""
    return choices[int(torch.randint(len(choices), (), generator=generator))]


def portuguese_plural(word: str) -> str:
    """The plural of a noun or an adjective: *flor*, *flores*; *anel*, *anéis*; *jardim*, *jardins*."""
    if word in _PLURALS_PT:
        return _PLURALS_PT[word]
    for singular, plural in (("ão", "ões"), ("al", "ais"), ("el", "éis"), ("ol", "óis"), ("il", "is"), ("m", "ns")):
        if word.endswith(singular):
            return word[: -len(singular)] + plural
    if word.endswith("ês"):
        return word[:-2] + "eses"
    return word + ("es" if word[-1] in "rz" else "s")


def english_plural(word: str) -> str:
    """The plural of an English noun: *box*, *boxes*; *story*, *stories*; *man*, *men*."""
    if word in _PLURALS_EN:
        return _PLURALS_EN[word]
    if word[-1] == "y" and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")


_PLURALS_PT = {
    "irmão": "irmãos",
    "fácil": "fáceis",
    "confortável": "confortáveis",
    "terrível": "terríveis",
    "saudável": "saudáveis",
    "dócil": "dóceis",
    "azul": "azuis",
    "difícil": "difíceis",
    "útil": "úteis",
    "inútil": "inúteis",
    "agradável": "agradáveis",
    "frágil": "frágeis",
    "simples": "simples",
    "lápis": "lápis",
    "ônibus": "ônibus",
    "tênis": "tênis",
    "país": "países",
    "mão": "mãos",
    "pão": "pães",
}
#: Adjectives, and what serves as one, with one form for everything: *os vestidos rosa*, but *as rosas*, the flowers.
_ONE_FORM = frozenset({"bem", "rosa"})
_PLURALS_EN = {
    "man": "men",
    "woman": "women",
    "knife": "knives",
    "wife": "wives",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "hero": "heroes",
    "mouse": "mice",
    "wolf": "wolves",
    "child": "children",
    "person": "people",
    "fish": "fish",
    "sheep": "sheep",
    "foot": "feet",
    "tooth": "teeth",
    "shelf": "shelves",
}


@dataclass(frozen=True)
class Noun:
    """A noun.

    Args:
        pt: the Portuguese word, in the singular.
        gender: ``"m"`` or ``"f"``.
        en: the English word, in the singular.
        kind: what it names; verbs choose their objects by it.
        pair: the number of the pair that it forms with a noun of the other gender.
    """

    pt: str
    gender: Gender
    en: str
    kind: Kind
    pair: int

    @property
    def counterpart(self) -> "Noun":
        """The noun of the same kind and the other gender, such as *menina* for *menino*, or *carta* for *livro*."""
        return ALL_NOUNS[2 * self.pair + (self.gender == "m")]


@dataclass(frozen=True)
class Adjective:
    """An adjective.

    Args:
        masculine: as in *era bonito*.
        feminine: as in *era bonita*; the same word where the adjective knows no gender, such as *interessante*.
        en: the English word.
    """

    masculine: str
    feminine: str
    en: str

    @property
    def stem(self) -> str:
        """What both forms share, with ``_`` for the ending, as in ``bonit_``."""
        length = next((i for i, (m, f) in enumerate(zip(self.masculine, self.feminine, strict=False)) if m != f), None)
        return self.masculine[:length] + "_"

    def form(self, gender: Gender, *, plural: bool = False) -> str:
        """The form that agrees with a noun of this gender and number."""
        word = self.masculine if gender == "m" else self.feminine
        return portuguese_plural(word) if plural and word not in _ONE_FORM else word


_PAIRS: tuple[tuple[Kind, str], ...] = (
    (
        "person",
        """menino menina boy girl, professor professora teacher teacher, médico médica doctor doctor,
        aluno aluna student student, amigo amiga friend friend, primo prima cousin cousin,
        vizinho vizinha neighbor neighbor, irmão irmã brother sister, tio tia uncle aunt,
        avô avó grandfather grandmother, cantor cantora singer singer, escritor escritora writer writer""",
    ),
    (
        "thing",
        """livro carta book letter, caderno caneta notebook pen, relógio bolsa clock bag, chapéu camisa hat shirt,
        vaso cadeira vase chair, quadro mesa picture table, espelho lâmpada mirror lamp, tapete caixa carpet box,
        brinquedo boneca toy doll, telefone chave telephone key, anel flor ring flower, presente moeda present coin""",
    ),
    (
        "place",
        """parque praça park square, museu escola museum school, teatro biblioteca theater library,
        mercado feira market fair, jardim praia garden beach, cinema loja cinema shop""",
    ),
)

_MORE_PAIRS: tuple[tuple[Kind, str], ...] = (
    (
        "person",
        """homem mulher man woman, rei rainha king queen, príncipe princesa prince princess,
        ator atriz actor actress, pai mãe father mother, filho filha son daughter, marido esposa husband wife,
        sobrinho sobrinha nephew niece, garçom garçonete waiter waitress, herói heroína hero heroine,
        padre freira priest nun, duque duquesa duke duchess""",
    ),
    (
        "thing",
        """carro bicicleta car bicycle, barco roda boat wheel, piano guitarra piano guitar, casaco saia coat skirt,
        sapato meia shoe sock, lápis tesoura pencil knife, prato xícara plate cup, copo garrafa glass bottle,
        martelo escada hammer ladder, violino bandeira violin flag, sofá cama sofa bed, mapa mala map suitcase,
        cobertor toalha blanket towel, jogo máquina game machine, computador câmera computer camera,
        botão agulha button needle, bilhete pulseira ticket bracelet, colar coroa necklace crown""",
    ),
    (
        "animal",
        """gato cabra cat goat, cavalo vaca horse cow, pássaro coruja bird owl, cachorro raposa dog fox,
        lobo borboleta wolf butterfly, macaco girafa monkey giraffe, leão abelha lion bee,
        rato tartaruga mouse turtle, elefante cobra elephant snake, pato galinha duck hen""",
    ),
    (
        "text",
        """romance história novel story, poema canção poem song, jornal revista newspaper magazine,
        relatório receita report recipe, conto lenda tale legend, artigo piada article joke,
        dicionário enciclopédia dictionary encyclopedia, capítulo página chapter page""",
    ),
    (
        "food",
        """bolo maçã cake apple, abacaxi sopa pineapple soup, queijo laranja cheese orange,
        sanduíche torta sandwich pie, morango batata strawberry potato, biscoito cebola cookie onion,
        ovo salada egg salad, tomate cenoura tomato carrot""",
    ),
    (
        "place",
        """hotel igreja hotel church, hospital cidade hospital city, restaurante fazenda restaurant farm,
        palácio ponte palace bridge, porto ilha harbor island, banco casa bank house, rio floresta river forest,
        castelo montanha castle mountain, quarto cozinha bedroom kitchen, escritório oficina office workshop""",
    ),
)

# What visitors write about; the fragment's own sentences do without them.
_EVERYDAY_PAIRS: tuple[tuple[Kind, str], ...] = (
    (
        "person",
        """enfermeiro enfermeira nurse nurse, advogado advogada lawyer lawyer, engenheiro engenheira engineer engineer,
        cozinheiro cozinheira cook cook, bebê criança baby child, namorado namorada boyfriend girlfriend,
        neto neta grandson granddaughter, motorista motorista driver driver, dentista dentista dentist dentist,
        artista artista artist artist, chefe chefe boss boss, turista turista tourist tourist,
        colega colega colleague colleague, cliente cliente customer customer, gerente gerente manager manager,
        fazendeiro fazendeira farmer farmer, adulto pessoa adult person, papai mamãe dad mom,
        secretário secretária secretary secretary, jogador jogadora player player, convidado convidada guest guest,
        pintor pintora painter painter, bailarino bailarina dancer dancer,
        senhor senhora gentleman lady""",
    ),
    (
        "thing",
        """ônibus bola bus ball, avião moto plane motorcycle, celular televisão phone television,
        vestido jaqueta dress jacket, guarda-chuva janela umbrella window, garfo colher fork spoon,
        travesseiro porta pillow door, filme foto movie photo, sabonete escova soap brush, papel carteira paper wallet,
        trem luz train light, problema ideia problem idea, emprego camiseta job T-shirt, brinco estrela earring star,
        armário estante closet shelf, aniversário festa birthday party,
        ano semana year week, dia hora day hour, minuto viagem minute trip, voo aula flight class,
        número reunião number meeting,
        som cor sound color, sol lua sun moon, olho orelha eye ear, braço perna arm leg, pé cabeça foot head,
        dente mão tooth hand, prédio árvore building tree, fogo planta fire plant, táxi parede taxi wall,
        chão loteria floor lottery, mundo vida world life, preço empresa price company,
        suéter bota sweater boot, cinto luva belt glove, passaporte vela passport candle, rádio pedra radio stone,
        concerto entrevista concert interview, casamento guerra wedding war, calendário nuvem calendar cloud,
        programa tempestade program storm, teste rosa test rose, sonho chuva dream rain, time voz team voice,
        prêmio parte prize part,
        remédio cortina medicine curtain,
        tênis gravata sneaker tie""",
    ),
    (
        "animal",
        """peixe ovelha fish sheep, coelho formiga rabbit ant, urso aranha bear spider, porco mosca pig fly,
        tigre zebra tiger zebra, camelo baleia camel whale""",
    ),
    (
        "text",
        """e-mail mensagem email message, nome palavra name word, endereço pergunta address question,
        exercício resposta exercise answer, idioma frase language sentence, exame lição exam lesson""",
    ),
    (
        "food",
        """hambúrguer pizza hamburger pizza, sorvete banana ice_cream banana, chocolate fruta chocolate fruit,
        limão uva lemon grape, melão pera melon pear, cogumelo verdura mushroom vegetable,
        almoço sobremesa lunch dessert, jantar refeição dinner meal""",
    ),
    (
        "place",
        """banheiro sala bathroom living_room, aeroporto estação airport station,
        supermercado farmácia supermarket pharmacy, shopping padaria mall bakery, apartamento rua apartment street,
        país universidade country university, lago piscina lake pool, zoológico livraria zoo bookstore,
        bar lanchonete bar cafeteria, estádio vila stadium village, mar estrada sea road,
        vale colina valley hill, metrô torre subway tower, oceano garagem ocean garage,
        correio academia post_office gym""",
    ),
)

_ADJECTIVES = """bonito bonita beautiful, lindo linda lovely, engraçado engraçada funny, feio feia ugly, novo nova new,
    velho velha old, pequeno pequena small, estranho estranha strange, esquisito esquisita odd,
    famoso famosa famous, conhecido conhecida well-known, querido querida dear, misterioso misteriosa mysterious,
    maravilhoso maravilhosa wonderful, magnífico magnífica magnificent,
    extraordinário extraordinária extraordinary, encantador encantadora charming,
    assustador assustadora frightening, discreto discreta discreet, moderno moderna modern"""


def _nouns(tables: Sequence[tuple[Kind, str]]) -> tuple[Noun, ...]:
    nouns: list[Noun] = []
    for kind, table in tables:
        for entry in table.split(","):
            masculine, feminine, masculine_en, feminine_en = entry.split()
            pair = len(nouns) // 2
            nouns.append(Noun(masculine, "m", masculine_en.replace("_", " "), kind, pair))
            nouns.append(Noun(feminine, "f", feminine_en.replace("_", " "), kind, pair))
    return tuple(nouns)


#: Every noun. Each masculine noun is followed by its counterpart.
ALL_NOUNS = _nouns(_PAIRS + _MORE_PAIRS + _EVERYDAY_PAIRS)

#: The nouns of the fragment, and not those that only its everyday part knows.
FRAGMENT_NOUNS = _nouns(_PAIRS + _MORE_PAIRS)

#: The nouns of the agreement sentences, thirty of each gender.
NOUNS = _nouns(_PAIRS)

#: Adjectives that suit persons, things and places alike, so that the adjective does not betray the head.
ADJECTIVES = tuple(Adjective(*entry.split()) for entry in _ADJECTIVES.split(","))
