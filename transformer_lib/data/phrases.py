"""The everyday part's fixed phrases: utterances, names, places, times, and what stands in no table of words."""

from typing import Literal

from transformer_lib.data.lexicon import Adjective, Gender, Kind, Noun

Stuff = Literal["drink", "food", "thing"]


def _pairs(table: str) -> tuple[tuple[str, str], ...]:
    """Lines or entries of ``english|português``, apart by semicolons."""
    entries = (entry.strip().partition("|") for entry in table.split(";"))
    return tuple((" ".join(en.split()), " ".join(pt.split())) for en, _, pt in entries)


def _adjectives(table: str) -> tuple[Adjective, ...]:
    forms = ((en, *pt.partition("/")) for en, pt in _pairs(table))
    return tuple(Adjective(masculine, feminine or masculine, en) for en, masculine, _, feminine in forms)


#: Names of persons, as they are written in each language.
NAMES: tuple[tuple[str, str, Gender], ...] = (
    *((name, name, "f") for name in "Maria Ana Julia Mary Anna Lucy Sarah Clara Paula Laura Emma Alice Jane".split()),
    *((name, name, "m") for name in "Pedro Lucas Paulo Carlos John Peter Tom Paul David Daniel Bruno Marcos".split()),
)

#: Cities, countries, with the Portuguese article where they have one.
PLACES = _pairs(
    """Brazil|o Brasil; Brazil|o Brasil; Brazil|o Brasil; Portugal|Portugal; France|a França; Italy|a Itália;
    Spain|a Espanha; Germany|a Alemanha; England|a Inglaterra; Japan|o Japão; China|a China; Canada|o Canadá;
    Argentina|a Argentina; Mexico|o México; Europe|a Europa; Africa|a África; India|a Índia;
    the United States|os Estados Unidos; London|Londres; Paris|Paris; New York|Nova York; São Paulo|São Paulo;
    Rio de Janeiro|o Rio de Janeiro; Lisbon|Lisboa; Rome|Roma; Salvador|Salvador; Brasília|Brasília"""
)

#: Subjects that are said in one way, with the Portuguese verb's form.
FIXED_SUBJECTS: tuple[tuple[str, str, int], ...] = (
    ("my parents", "meus pais", 3),
    ("your parents", "seus pais", 3),
    ("my grandparents", "meus avós", 3),
    ("my friends", "meus amigos", 3),
    ("my family", "minha família", 1),
    ("your family", "sua família", 1),
    ("everyone", "todo mundo", 1),
    ("everybody", "todo mundo", 1),
    ("someone", "alguém", 1),
    ("my mother", "minha mãe", 1),
    ("my father", "meu pai", 1),
)

#: Things and persons that are said in one way, by kind.
OBJECTS: dict[Kind, tuple[tuple[str, str], ...]] = {
    "thing": _pairs(
        """my glasses|meus óculos; your glasses|seus óculos; my keys|minhas chaves; something|alguma coisa;
        everything|tudo; it all|tudo isso; my clothes|minhas roupas; this|isto; that|isso;
        a cup of coffee|uma xícara de café;
        a glass of water|um copo de água; my hair|meu cabelo; my hands|minhas mãos; a lot of things|muitas coisas"""
    ),
    "food": _pairs(
        """something|alguma coisa; a piece of cake|um pedaço de bolo; rice and beans|arroz e feijão;
        bread and butter|pão com manteiga; breakfast|café da manhã"""
    ),
    "person": _pairs(
        """my parents|meus pais; my grandparents|meus avós; my family|minha família; your family|sua família;
        my friends|meus amigos; someone|alguém; everyone|todo mundo; her family|a família dela;
        his parents|os pais dele"""
    ),
}

#: Where one is; the first eight suit anything.
SPOTS = _pairs(
    """here|aqui; here|aqui; there|lá; near here|perto daqui; at home|em casa; at school|na escola; outside|lá fora;
    downtown|no centro; at work|no trabalho; in bed|na cama; at home|em casa; at home|em casa; with me|comigo;
    with you|com você; with us|conosco; with him|com ele; with her|com ela; with them|com eles;
    with my friends|com meus amigos; with my family|com minha família; by bus|de ônibus; by car|de carro;
    by train|de trem; at the table|à mesa; in the street|na rua; in the world|no mundo;
    upstairs|lá em cima; at the beach|na praia"""
)

#: Ways that English says without an article or without a preposition: base/past/participle/rest.
WAYS = _pairs(
    """go/went/gone/home|ir para casa; go/went/gone/home|ir para casa; go/went/gone/to school|ir para a escola;
    go/went/gone/to work|ir para o trabalho; go/went/gone/to bed|ir para a cama; go/went/gone/to sleep|ir dormir;
    go/went/gone/to church|ir para a igreja; go/went/gone/there|ir lá; go/went/gone/out|sair;
    go/went/gone/away|ir embora;
    come/came/come/home|vir para casa; come/came/come/here|vir aqui; come/came/come/back|voltar;
    come/came/come/in|entrar; get/got/gotten/home|chegar em casa; arrive/arrived/arrived/home|chegar em casa;
    stay/stayed/stayed/at home|ficar em casa; stay/stayed/stayed/here|ficar aqui; live/lived/lived/here|morar aqui;
    live/lived/lived/there|morar lá; work/worked/worked/here|trabalhar aqui; sit/sat/sat/down|sentar;
    sit/sat/sat/here|sentar aqui; stand/stood/stood/up|levantar; leave/left/left/home|sair de casa;
    travel/traveled/traveled/abroad|viajar para o exterior; go/went/gone/to the movies|ir ao cinema;
    go/went/gone/to the doctor|ir ao médico; go/went/gone/to the beach|ir para a praia;
    go/went/gone/to a party|ir a uma festa; go/went/gone/to the party|ir para a festa;
    go/went/gone/on vacation|sair de férias; turn/turned/turned/on the light|acender a luz;
    turn/turned/turned/off the light|apagar a luz; turn/turned/turned/off the computer|desligar o computador;
    turn/turned/turned/on the computer|ligar o computador; turn/turned/turned/left|virar à esquerda;
    turn/turned/turned/right|virar à direita; speak/spoke/spoken/slowly|falar devagar;
    speak/spoke/spoken/more slowly|falar mais devagar"""
)

#: Where a thing can lie: English noun, Portuguese article and noun, *in* or *on*.
SURFACES = tuple(
    tuple(entry.split("|"))
    for entry in (
        "table|a|mesa|on",
        "table|a|mesa|on",
        "table|a|mesa|on",
        "bed|a|cama|on",
        "chair|a|cadeira|on",
        "floor|o|chão|on",
        "sofa|o|sofá|on",
        "shelf|a|estante|on",
        "wall|a|parede|on",
        "box|a|caixa|in",
        "bag|a|bolsa|in",
        "car|o|carro|in",
        "kitchen|a|cozinha|in",
        "bedroom|o|quarto|in",
        "room|o|quarto|in",
        "bathroom|o|banheiro|in",
        "closet|o|armário|in",
        "drawer|a|gaveta|in",
        "refrigerator|a|geladeira|in",
        "fridge|a|geladeira|in",
        "suitcase|a|mala|in",
        "house|a|casa|in",
        "garden|o|jardim|in",
        "backpack|a|mochila|in",
        "pocket|o|bolso|in",
    )
)

_SEASONS = """in the summer|no verão; in summer|no verão; in the winter|no inverno; in winter|no inverno;
    in the spring|na primavera; in the autumn|no outono; before dinner|antes do jantar; after dinner|depois do jantar;
    after lunch|depois do almoço; before breakfast|antes do café da manhã; after school|depois da escola;
    after work|depois do trabalho; for two hours|por duas horas; for a week|por uma semana; in January|em janeiro;
    in March|em março;
    in April|em abril; in June|em junho; in July|em julho; in August|em agosto; in December|em dezembro"""
_PAST = """yesterday|ontem; yesterday|ontem; yesterday|ontem; last night|ontem à noite; last week|na semana passada;
    last year|no ano passado; last month|no mês passado; this morning|hoje de manhã; two days ago|há dois dias;
    a year ago|há um ano; three years ago|há três anos; on Monday|na segunda-feira; on Sunday|no domingo;
    on Saturday|no sábado; on Friday|na sexta-feira; yesterday morning|ontem de manhã; today|hoje"""
_PRESENT = """every day|todos os dias; every day|todos os dias; every morning|toda manhã; every night|toda noite;
    every week|toda semana; every year|todo ano; in the morning|de manhã; in the afternoon|à tarde;
    in the evening|à noite;
    at night|à noite; on weekends|nos fins de semana; on Sundays|aos domingos; on Saturdays|aos sábados;
    every weekend|todo fim de semana; very much|muito; a lot|muito"""
_FUTURE = """tomorrow|amanhã; tomorrow|amanhã; tomorrow|amanhã; next week|na próxima semana; next year|no próximo ano;
    next month|no próximo mês; tonight|hoje à noite; tonight|hoje à noite; soon|em breve; later|mais tarde;
    tomorrow morning|amanhã de manhã; tomorrow night|amanhã à noite; on Monday|na segunda-feira; on Sunday|no domingo;
    on Saturday|no sábado; on Tuesday|na terça-feira; on Wednesday|na quarta-feira; on Thursday|na quinta-feira;
    on Friday|na sexta-feira; today|hoje; this afternoon|hoje à tarde; this weekend|neste fim de semana"""
#: Adverbs of time that suit a tense.
TIMES = {
    "past": _pairs(f"{_PAST}; {_SEASONS}"),
    "past progressive": _pairs(_PAST),
    "present": _pairs(f"{_PRESENT}; {_SEASONS}; once a week|uma vez por semana; twice a week|duas vezes por semana"),
    "future": _pairs(f"{_FUTURE}; {_SEASONS}"),
    "progressive": _pairs("now|agora; now|agora; right now|agora mesmo; today|hoje; at the moment|no momento"),
}

_LEAVES = (("leave", "sair"), ("arrive", "chegar"))
_OPENS = (("open", "abrir"), ("close", "fechar"))
_STARTS = (("start", "começar"), ("end", "terminar"), ("begin", "começar"))
#: What happens at its hour: the noun, in Portuguese with its article, and the verbs.
SCHEDULES: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    *((en, pt, _LEAVES) for en, pt in _pairs("train|o trem; train|o trem; bus|o ônibus; plane|o avião; flight|o voo")),
    *(
        (en, pt, _OPENS)
        for en, pt in _pairs("bank|o banco; store|a loja; shop|a loja; museum|o museu; market|o mercado")
    ),
    *(
        (en, pt, _STARTS)
        for en, pt in _pairs("movie|o filme; class|a aula; party|a festa; game|o jogo; meeting|a reunião")
    ),
)

_CLOCK = """one|à uma; two|às duas; three|às três; four|às quatro; five|às cinco; six|às seis; seven|às sete;
    eight|às oito; nine|às nove; ten|às dez; eleven|às onze"""
#: Hours, with *at* in Portuguese.
HOURS = (
    *((f"{en} o'clock", f"{pt} {'hora' if pt == 'à uma' else 'horas'}") for en, pt in _pairs(_CLOCK)),
    *_pairs(_CLOCK),
    ("noon", "ao meio-dia"),
    ("midnight", "à meia-noite"),
)

#: Adverbs before the verb.
MANNERS = _pairs(
    """usually|geralmente; often|frequentemente; sometimes|às vezes; also|também; still|ainda; really|realmente;
    only|só; almost|quase"""
)

#: Modal verbs, and the Portuguese forms for eu, ele, nós, eles.
MODALS = _pairs(
    """can|posso/pode/podemos/podem; can|posso/pode/podemos/podem; can|posso/pode/podemos/podem;
    must|devo/deve/devemos/devem; should|deveria/deveria/deveríamos/deveriam;
    could|poderia/poderia/poderíamos/poderiam; would like to|gostaria de/gostaria de/gostaríamos de/gostariam de"""
)

#: Persons behind a Portuguese preposition, and behind *com*, which joins two of them.
PERSONS = _pairs("me|mim; you|você; him|ele; her|ela; us|nós; them|eles")
TOGETHER = _pairs("me|comigo; you|você; him|ele; her|ela; us|conosco; them|eles")
TOGETHER = tuple((en, pt if pt.startswith("co") else f"com {pt}") for en, pt in TOGETHER)

#: How a person feels, or what a person is.
FEELINGS = _adjectives(
    """tired|cansado/cansada; tired|cansado/cansada; busy|ocupado/ocupada; sick|doente; ill|doente; ready|pronto/pronta;
    worried|preocupado/preocupada; angry|bravo/brava; late|atrasado/atrasada; lost|perdido/perdida;
    alone|sozinho/sozinha;
    wrong|errado/errada; right|certo/certa; happy|feliz; sad|triste; fine|bem; bored|entediado/entediada;
    excited|animado/animada; nervous|nervoso/nervosa; surprised|surpreso/surpresa; scared|assustado/assustada;
    married|casado/casada; single|solteiro/solteira; Brazilian|brasileiro/brasileira; American|americano/americana;
    English|inglês/inglesa; French|francês/francesa; Portuguese|português/portuguesa; nice|legal; good|bom/boa;
    tall|alto/alta; intelligent|inteligente; smart|inteligente; strong|forte; young|jovem; old|velho/velha; kind|gentil;
    beautiful|bonito/bonita; pretty|bonito/bonita; funny|engraçado/engraçada; rich|rico/rica;
    lazy|preguiçoso/preguiçosa; healthy|saudável; thin|magro/magra; fat|gordo/gorda; popular|popular; glad|contente;
    clever|esperto/esperta; honest|honesto/honesta;
    weak|fraco/fraca; Italian|italiano/italiana; Chinese|chinês/chinesa; Japanese|japonês/japonesa;
    boring|chato/chata;
    lucky|sortudo/sortuda;
    polite|educado/educada; friendly|simpático/simpática; short|baixo/baixa; handsome|bonito/bonita;
    famous|famoso/famosa"""
)

_OF_THINGS = """big|grande; good|bom/boa; bad|ruim; great|ótimo/ótima; nice|legal; gray|cinza; brown|marrom;
    favorite|favorito/favorita;
    important|importante; wonderful|maravilhoso/maravilhosa"""
#: More adjectives behind the noun.
QUALITIES: dict[Kind, tuple[Adjective, ...]] = {
    "person": _adjectives(
        "nice|legal; friendly|simpático/simpática; smart|inteligente; Brazilian|brasileiro/brasileira"
    ),
    "thing": _adjectives(f"""{_OF_THINGS}; pink|rosa; purple|roxo/roxa; dry|seco/seca; special|especial;
    comfortable|confortável; terrible|terrível; soft|macio/macia; wet|molhado/molhada;
    safe|seguro/segura; cold|frio/fria; fast|rápido/rápida; old|velho/velha; open|aberto/aberta"""),
    "text": _adjectives(
        "big|grande; good|bom/boa; great|ótimo/ótima; hard|difícil; right|certo/certa; wrong|errado/errada"
    ),
    "food": _adjectives("""healthy|saudável; warm|quente; big|grande; good|bom/boa; bad|ruim; great|ótimo/ótima;
    hot|quente; cold|frio/fria"""),
    "place": _adjectives(
        """safe|seguro/segura; dangerous|perigoso/perigosa; noisy|barulhento/barulhenta; large|grande;
        big|grande; good|bom/boa; nice|legal; clean|limpo/limpa; dirty|sujo/suja; open|aberto/aberta;
        crowded|lotado/lotada"""
    ),
    "animal": _adjectives(
        "big|grande; brown|marrom; dangerous|perigoso/perigosa; hungry|faminto/faminta; fat|gordo/gorda"
    ),
}

#: Comparatives in English, and in Portuguese where they are not made with *mais*.
COMPARATIVES = {
    "tall": ("taller", ""),
    "strong": ("stronger", ""),
    "rich": ("richer", ""),
    "poor": ("poorer", ""),
    "happy": ("happier", ""),
    "young": ("younger", ""),
    "old": ("older", ""),
    "heavy": ("heavier", ""),
    "light": ("lighter", ""),
    "cheap": ("cheaper", ""),
    "expensive": ("more expensive", ""),
    "fast": ("faster", ""),
    "slow": ("slower", ""),
    "long": ("longer", ""),
    "short": ("shorter", ""),
    "easy": ("easier", ""),
    "hard": ("harder", ""),
    "difficult": ("more difficult", ""),
    "hot": ("hotter", ""),
    "cold": ("colder", ""),
    "sweet": ("sweeter", ""),
    "big": ("bigger", "maior"),
    "small": ("smaller", "menor"),
    "good": ("better", "melhor"),
    "bad": ("worse", "pior"),
    "beautiful": ("more beautiful", ""),
    "important": ("more important", ""),
    "interesting": ("more interesting", ""),
    "intelligent": ("more intelligent", ""),
    "famous": ("more famous", ""),
    "modern": ("more modern", ""),
}


def _stuff(table: str) -> tuple[Noun, ...]:
    nouns = []
    for en, rest in _pairs(table):
        article, pt = rest.split(" ", 1)
        nouns.append(Noun(pt, "m" if article == "o" else "f", en, "food", -1))
    return tuple(nouns)


#: What is not counted.
UNCOUNTED: dict[Stuff, tuple[Noun, ...]] = {
    "drink": _stuff(
        """water|a água; water|a água; coffee|o café; coffee|o café; milk|o leite; tea|o chá; juice|o suco;
        wine|o vinho;
        beer|a cerveja; orange juice|o suco de laranja; hot chocolate|o chocolate quente"""
    ),
    "food": _stuff(
        """bread|o pão; bread|o pão; rice|o arroz; meat|a carne; fish|o peixe; chicken|o frango; cheese|o queijo;
        butter|a manteiga; sugar|o açúcar; salt|o sal; soup|a sopa; chocolate|o chocolate; fruit|a fruta; food|a comida;
        ice cream|o sorvete; pizza|a pizza; salad|a salada; pasta|a massa;
        breakfast|o café da manhã; cake|o bolo; dinner|o jantar; lunch|o almoço"""
    ),
    "thing": _stuff(
        """money|o dinheiro; money|o dinheiro; music|a música; time|o tempo; work|o trabalho; help|a ajuda;
        homework|a lição de casa; weather|o tempo; paper|o papel; information|a informação; football|o futebol;
        soccer|o futebol;
        English|o inglês; Portuguese|o português; love|o amor"""
    ),
}

#: Favorite things, with some that it may be.
FAVORITES: tuple[tuple[str, str, Gender, str], ...] = (
    ("color", "cor", "f", "blue=azul/red=vermelho/green=verde/yellow=amarelo/black=preto/white=branco"),
    ("food", "comida", "f", "pizza=pizza/rice and beans=arroz e feijão/fish=peixe/chocolate=chocolate"),
    ("animal", "animal", "m", "the dog=o cachorro/the cat=o gato/the horse=o cavalo"),
    ("book", "livro", "m", "this one=este/very old=muito velho/on the table=o da mesa"),
    ("movie", "filme", "m", "this one=este/very old=muito velho"),
    ("song", "canção", "f", "this one=esta/very old=muito velha"),
    ("sport", "esporte", "m", "soccer=futebol/tennis=tênis/swimming=natação"),
    ("day", "dia", "m", "Sunday=domingo/Saturday=sábado/Friday=sexta-feira"),
    ("fruit", "fruta", "f", "the apple=a maçã/the banana=a banana/the orange=a laranja"),
    ("city", "cidade", "f", "London=Londres/Paris=Paris/Lisbon=Lisboa"),
)

#: What is contracted, in this order.
CONTRACTIONS = (
    ("cannot", "can't"),
    ("will not", "won't"),
    *((f"{verb} not", f"{verb}n't") for verb in "do does did is are was were has have could should would must".split()),
    ("I am", "I'm"),
    *((f"{word} is", f"{word}'s") for word in "he she it that what who where how there".split()),
    *((f"{word} are", f"{word}'re") for word in "you we they".split()),
    *((f"{word} will", f"{word}'ll") for word in "I you he she it we they".split()),
    *((f"{word} would", f"{word}'d") for word in "I you he she we they".split()),
    ("let us", "let's"),
)

#: What people say as a whole.
UTTERANCES = _pairs(
    """hello.|olá.; hello!|olá!; hi.|oi.; hi!|oi!; hi, how are you?|oi, como você está?; hello, how are you?|olá,
    como você está?;
    what kind of music do you like?|de que tipo de música você gosta?;
    what kind of food do you like?|de que tipo de comida você gosta?; how are you?|como você está?;
    how are you doing?|como você está?; how are you today?|como você está hoje?;
    I am fine.|eu estou bem.; I am fine, thank you.|eu estou bem, obrigado.; I am fine, thanks.|eu estou bem, obrigado.;
    thank you.|obrigado.; thank you!|obrigado!; thanks.|obrigado.; thanks!|obrigado!;
    thank you very much.|muito obrigado.;
    thank you very much!|muito obrigado!; thanks a lot.|muito obrigado.;
    thank you for your help.|obrigado pela sua ajuda.;
    thank you for everything.|obrigado por tudo.; you are welcome.|de nada.; you are welcome!|de nada!;
    no problem.|sem problema.;
    please.|por favor.; yes.|sim.; no.|não.; yes, please.|sim, por favor.; no, thank you.|não, obrigado.; no,
    thanks.|não, obrigado.;
    good morning.|bom dia.; good morning!|bom dia!; good afternoon.|boa tarde.; good afternoon!|boa tarde!;
    good evening.|boa noite.; good evening!|boa noite!; good night.|boa noite.; good night!|boa noite!;
    goodbye.|tchau.; goodbye!|tchau!; bye.|tchau.; bye!|tchau!; see you later.|até mais tarde.;
    see you later!|até mais tarde!;
    see you tomorrow.|até amanhã.; see you tomorrow!|até amanhã!; see you soon.|até logo.; see you soon!|até logo!;
    see you next week.|até a próxima semana.; welcome.|bem-vindo.; welcome!|bem-vindo!;
    welcome to Brazil.|bem-vindo ao Brasil.;
    what is your name?|qual é o seu nome?; my name is Maria.|meu nome é Maria.; my name is John.|meu nome é John.;
    my name is Ana.|meu nome é Ana.; my name is Paul.|meu nome é Paul.; my name is Peter.|meu nome é Peter.;
    my name is Anna.|meu nome é Anna.;
    what is his name?|qual é o nome dele?; what is her name?|qual é o nome dela?;
    her name is Maria.|o nome dela é Maria.;
    his name is John.|o nome dele é John.; nice to meet you.|prazer em conhecê-lo.;
    nice to meet you!|prazer em conhecê-lo!;
    pleased to meet you.|prazer em conhecê-lo.; I am sorry.|eu sinto muito.; sorry.|desculpe.; I am sorry,
    I am late.|desculpe, eu estou atrasado.;
    excuse me.|com licença.; excuse me, where is the bathroom?|com licença, onde está o banheiro?;
    where is the bathroom?|onde está o banheiro?;
    I do not know.|eu não sei.; I do not understand.|eu não entendo.; I know.|eu sei.; I understand.|eu entendo.;
    I did not understand.|eu não entendi.; I love you.|eu te amo.; I love you!|eu te amo!;
    I love you very much.|eu te amo muito.;
    I miss you.|eu sinto sua falta.; I miss you!|eu sinto sua falta!; I love it.|eu adoro isso.;
    I like it.|eu gosto disso.;
    I do not like it.|eu não gosto disso.; I like it very much.|eu gosto muito disso.;
    happy birthday!|feliz aniversário!;
    happy birthday.|feliz aniversário.; happy new year!|feliz ano novo!; merry Christmas!|feliz Natal!;
    congratulations!|parabéns!;
    congratulations.|parabéns.; good luck!|boa sorte!; good luck.|boa sorte.; have a nice day.|tenha um bom dia.;
    have a good day!|tenha um bom dia!;
    have a good day.|tenha um bom dia.; have a nice weekend.|tenha um bom fim de semana.;
    have a good trip!|boa viagem!; of course.|claro.;
    of course!|claro!; maybe.|talvez.; help!|socorro!; help me!|me ajude!; wait!|espere!;
    wait a minute.|espere um minuto.;
    just a moment, please.|um momento, por favor.; look!|olhe!; be careful.|tenha cuidado.;
    be careful!|tenha cuidado!; be quiet.|fique quieto.;
    come here.|venha aqui.; come in.|entre.; let us go.|vamos.;
    let us go!|vamos!; what time is it?|que horas são?; what day is it today?|que dia é hoje?;
    what is this?|o que é isto?; what is that?|o que é aquilo?;
    what is it?|o que é isso?; who is it?|quem é?; what happened?|o que aconteceu?;
    what is the problem?|qual é o problema?;
    what do you do?|o que você faz?; where are you from?|de onde você é?; where are you?|onde você está?;
    where do you live?|onde você mora?;
    where is it?|onde está?; how old are you?|quantos anos você tem?; how much is it?|quanto custa?;
    how much does it cost?|quanto custa?;
    how much is this?|quanto custa isto?; how do you say this in Portuguese?|como se diz isto em português?;
    what does it mean?|o que isso significa?;
    what does this word mean?|o que esta palavra significa?; do you speak English?|você fala inglês?;
    do you speak Portuguese?|você fala português?;
    I do not speak Portuguese.|eu não falo português.; I speak a little Portuguese.|eu falo um pouco de português.;
    I speak English.|eu falo inglês.;
    can you help me?|você pode me ajudar?; can you help me, please?|você pode me ajudar, por favor?;
    can you repeat that?|você pode repetir isso?;
    I need help.|eu preciso de ajuda.; I need your help.|eu preciso da sua ajuda.; are you okay?|você está bem?;
    I am okay.|eu estou bem.;
    are you ready?|você está pronto?; it is cold.|está frio.; it is cold today.|está frio hoje.;
    it is very cold today.|está muito frio hoje.;
    it is hot.|está quente.; it is hot today.|está quente hoje.; it is very hot today.|está muito quente hoje.;
    it was cold yesterday.|estava frio ontem.;
    it is raining.|está chovendo.; it is raining today.|está chovendo hoje.; it is raining now.|está chovendo agora.;
    it is snowing.|está nevando.;
    it is sunny today.|está ensolarado hoje.; it is going to rain.|vai chover.;
    it is going to rain tomorrow.|vai chover amanhã.;
    it will rain tomorrow.|vai chover amanhã.; it rained yesterday.|choveu ontem.; it is late.|é tarde.;
    it is very late.|é muito tarde.;
    it is early.|é cedo.; it is too late.|é tarde demais.; how is the weather today?|como está o tempo hoje?;
    the weather is good today.|o tempo está bom hoje.;
    it is not important.|não é importante.; it is true.|é verdade.; it is not true.|não é verdade.;
    that is true.|é verdade.; that is right.|está certo.;
    today is Monday.|hoje é segunda-feira.; today is Sunday.|hoje é domingo.; today is Friday.|hoje é sexta-feira.;
    tomorrow is Saturday.|amanhã é sábado.;
    tomorrow is my birthday.|amanhã é meu aniversário.; today is my birthday.|hoje é meu aniversário.;
    I think so.|eu acho que sim.;
    I do not think so.|eu acho que não.; I hope so.|eu espero que sim.; me too.|eu também.;
    it is nothing.|não é nada.; there is nothing here.|não há nada aqui.;
    I have nothing to do.|eu não tenho nada para fazer.;
    I feel good.|eu me sinto bem.; I feel sick.|eu me sinto mal.; how do you feel?|como você se sente?; if it rains,
    we will stay at home.|se chover, nós vamos ficar em casa.;
    it is cloudy today.|está nublado hoje.;
    it is windy today.|está ventando hoje.; it is warm today.|está quente hoje.; see you then.|até lá.;
    I am just looking.|eu só estou olhando.;
    coffee without sugar, please.|café sem açúcar, por favor.; I drink coffee without sugar.|eu bebo café sem açúcar.;
    I like coffee with milk.|eu gosto de café com leite.; tea with milk, please.|chá com leite, por favor.; the bill,
    please.|a conta, por favor.; I agree.|eu concordo.;
    it does not matter.|não importa.;
    do not worry.|não se preocupe.; do not worry about it.|não se preocupe com isso.;
    I am from Brazil.|eu sou do Brasil.; what a pity!|que pena!;
    how beautiful!|que bonito!; I have no money.|eu não tenho dinheiro.; I have no time.|eu não tenho tempo.;
    I have no idea.|eu não tenho ideia.;
    I do not have time.|eu não tenho tempo.; I do not have any money.|eu não tenho dinheiro.;
    I have a question.|eu tenho uma pergunta.;
    are you hungry?|você está com fome?; are you tired?|você está cansado?; are you married?|você é casado?;
    how was your day?|como foi seu dia?;
    how was the party?|como foi a festa?; how was your trip?|como foi sua viagem?;
    the dinner was very good.|o jantar estava muito bom.;
    the food is very good.|a comida está muito boa.; the food was very good.|a comida estava muito boa.;
    I will be back soon.|eu vou voltar em breve.;
    see you on Monday.|até segunda-feira.; I forgot.|eu esqueci.; I forgot my keys.|eu esqueci minhas chaves.;
    I lost my keys.|eu perdi minhas chaves.;
    call me later.|me ligue mais tarde.; call me tomorrow.|me ligue amanhã."""
)
