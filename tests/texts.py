"""Texts as people type, paste and dictate them, each beside the one way in which it is read."""

from random import Random

#: What is handed in, and what is read.
RULE = [
    ("The man’s book", "The man's book"),
    ("The man‘s book‚ Hawaiʻi ʼs ´s `s ′s ‹a› ‛b", "The man's book' Hawai'i 's 's 's 's 'a' 'b"),
    ("“quoted” „low“ ‟x «um» 5″", '"quoted" "low" "x "um" 5"'),
    ("wait…", "wait..."),
    ("well-known ‐ ‑ ‒ – — ― − → ▸", "well-known - - - - - - - - -"),
    ("The\tbook\nthat\r\nyou\vgave\fme", "The book that you gave me"),
    (
        "The\u00a0book\u2009that\u202fyou\u3000gave\u2003me\u2028was\u2029it\u0085so\x1cit\x1fis",
        "The book that you gave me was it so it is",
    ),
    ("  two  spaces  ", "two spaces"),
    ("\ufeffThe bo\u00adok\u200b th\u200ca\u200dt\u2060 \u202ayou\u202c", "The book that you"),
    ("nul\0 bell\x07 escape\x1b[0m delete\x7f", "nul bell escape[0m delete"),
    ("cafe\u0301 a\u0303o c\u0327a", "café ão ça"),
    ("e\u00ad\u0301", "é"),  # the accent joins its letter over what is not seen
    ("\u1fef\u1ffd\u037e\u2000\u2126", "''; Ω"),  # signs whose composed form is another
    ("ﬁle ﬂow oﬀice eﬃcient baﬄe ﬅ ﬆ", "file flow office efficient baffle st st"),
    ("The▁book▁", "The book"),
    ("❤\ufe0f \U0001f3f4\U000e0067\U000e007f x", "❤ 🏴 x"),
    ("half \ud83d a pair \udc00", "half \ufffd a pair \ufffd"),
    (" \u200b\t\u00ad ", ""),
    ("", ""),
    ("The book that you gave me was interesting.", "The book that you gave me was interesting."),
    ("O livro que você me deu não é só ½ do 1º.", "O livro que você me deu não é só ½ do 1º."),
]

#: Names of special tokens, alone and inside words.
SPECIAL = [
    "<pad>",
    "<bos>",
    "<eos>",
    "<unk>",
    "a <eos> b",
    "wo<pad>rd",
    "<bos><unk>",
    "The <eos>. <EOS>",
    "<e\u00ados>",
]

#: With signs that no token of the stored translator stands for.
UNKNOWN = ["The 😀 book", "本 is a naïve book", "漢字", "A 👩‍💻 and 🇧🇷!", "♥♦♣♠★☆☀☁☂☃ are ten", "æ"]

_CLAUSE = "The book that you gave me was interesting and "
#: Too long, by words, by one word, and by a word of signs without a token.
LONG = [
    _CLAUSE * 20,
    "interest" * 200,
    "x " + "interest" * 200,
    "a " * 79,
    "a " * 80,
    "a " * 78 + "<eos>",
    "漢" * 90,
    "".join(Random(0).choices("etaoinshrdlu", k=6000)),
]

#: With words in capitals, which the stored translator reads as its training wrote them.
CAPITALS = [
    "I LOVE THE BOOK THAT YOU GAVE ME.",
    "OPEN THE PDF FILE ON MONDAY! DON'T CLOSE IT (PRESS CTRL+F5).",
    "“WHO’S THERE?” I ASKED. 'NO'... I'LL GO",
    "We like my HOUSE and the MAN'S dog",
    "HELLO, Mary! YES. NO",
    "THE GIRAFFES OF LONDON",
    "THE ÉA ǅ ŉ ΟΔΟΣ İ ß ﬁ BOOK",
]

#: In capitals, and read so: names, functions, single letters, words that were never seen.
CAPITALS_STAY = [
    *["PDF", "A", "I", "OK", "The IF function", "AVERAGE", "NASA", "AND, OR, NOT", "X Y", "I am OK", "F5"],
    "fax4HOUSE, HOUSE2, HOUSE_a, HOUSE½ or 𝟎HOUSE𝟎",
]

#: With words that the stored translator's training never showed.
UNSEEN = [
    "The zookeepers fed the zookeepers' giraffes; Zookeepers!",
    "naïve zookeepers of Bratislava2 can't, we'll, it's",
    "Xa xb xc xd xe xf xg xh " + "qu" * 40 + " xj xk",
    "zookeeper" * 60,
]
