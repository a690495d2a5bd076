"""The LibreOffice help: read, cleaned, split without near-duplicates, kept; and what is said when it cannot be had."""

import html
import io
import os
import random
import re
import stat
import tarfile
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.data import libreoffice
from transformer_lib.data.libreoffice import (
    FINGERPRINT,
    NEAR,
    PACKAGES,
    TESTED_WORDS,
    Corpus,
    CorpusUnavailable,
    clusters,
    libreoffice_corpus,
    near_duplicates,
    sentences,
)
from transformer_lib.data.pairs import Pair

Pages = dict[str, str]  # from paths to HTML


def page(*paragraphs: str) -> str:
    head = '<html><head><title>T</title></head><body><header id="Top"><p>LibreOffice 7.4 Help</p></header>\n'
    return head + "\n".join(paragraphs) + "\n</body></html>"


def p(name: str, text: str, label: str = "paragraph") -> str:
    return f'<p id="par_{name}" class="{label}" dir="auto">{text}</p>'


def repetitive_pairs(n: int = 500) -> list[Pair]:
    """Sentences like a manual's: many differ in one word, and some stand again in a longer text."""
    draw = random.Random(7)
    words = ["".join(draw.choices("abcdefghijklm", k=5)) for _ in range(400)]
    pairs = []
    for _ in range(n):
        if pairs and draw.random() < 0.4:
            english, portuguese = (text.split() for text in draw.choice(pairs))
            english[draw.randrange(len(english))] = draw.choice(words)
            if draw.random() < 0.3:
                english = [*draw.choices(words, k=8), "end.", *english]
                portuguese = [*draw.choices(words, k=8), "fim.", *portuguese]
        else:
            english = draw.choices(words, k=draw.randint(4, 12))
            portuguese = [word[::-1] for word in english]
        pairs.append(Pair(" ".join(english), " ".join(portuguese)))
    return list(dict.fromkeys(pairs))


PAIRS = repetitive_pairs()


@pytest.fixture
def pages() -> tuple[Pages, Pages]:
    return tuple(
        {
            f"shared/{start:02}.html": page(*(p(str(i), html.escape(t)) for i, t in enumerate(texts[start::7])))
            for start in range(7)
        }
        for texts in zip(*PAIRS, strict=True)
    )  # type: ignore[return-value]


def write_tree(root: Path, pages: tuple[Pages, Pages]) -> Path:
    for language, texts in zip(("en-US", "pt-BR"), pages, strict=True):
        for path, text in texts.items():
            file = root / language / "text" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    return root


def tar(files: dict[str, str], compression: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def write_debs(folder: Path, pages: tuple[Pages, Pages], version: str = "4%3a1.0", compression: str = "xz") -> Path:
    folder.mkdir(exist_ok=True)
    for package, language, texts in zip(PACKAGES, ("en-US", "pt-BR"), pages, strict=True):
        files = {f"usr/share/libreoffice/help/{language}/text/{path}": text for path, text in texts.items()}
        files["usr/share/doc/readme.html"] = "<p>Not the help.</p>"
        members = {
            "debian-binary": b"2.0\n",
            "control.tar.gz": tar({"control": f"Package: {package}\nVersion: 1.0\nArchitecture: all\n"}, "gz"),
            f"data.tar.{compression}": tar(files, compression),
        }
        data = b"!<arch>\n"
        for name, content in members.items():
            data += f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            data += content + b"\n" * (len(content) % 2)
        (folder / f"{package}_{version}_all.deb").write_bytes(data)
    return folder


def make(english: str, portuguese: str) -> Corpus:
    return libreoffice._make({"a.html": english}, {"a.html": portuguese})


def pairs_of(corpus: Corpus) -> set[tuple[str, str]]:
    return {tuple(pair) for pair in corpus.train + corpus.valid + corpus.test}


def empty_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("PATH", str(folder))


# ---- From HTML to text.


def test_tags_are_dropped_and_entities_and_blanks_made_plain() -> None:
    corpus = make(
        page('<h1 id="hd_1"><a name="x"></a>Open &amp;\n  <span class="emph">close</span><br>now</h1>'),
        page('<h1 id="hd_1">Abrir &amp; <i>fechar</i>\u00a0agora</h1>'),
    )
    assert pairs_of(corpus) == {("Open & close now", "Abrir & fechar agora")}
    assert corpus.version == "7.4"


def test_quotes_dashes_and_arrows_are_written_in_one_way() -> None:
    corpus = make(
        page(p("1", "“File” – it’s the menu…"), p("2", "soft\u00adware and cafe\u0301")),
        page(p("1", "«Arquivo» → é o menu…"), p("2", "programa e café")),
    )
    assert pairs_of(corpus) == {
        ('"File" - it\'s the menu...', '"Arquivo" - é o menu...'),
        ("software and café", "programa e café"),
    }


def test_of_variants_the_one_for_all_systems_is_taken() -> None:
    def switch(*variants: tuple[str, str]) -> str:
        spans = "".join(f'<span hidden="true"{label}>{text}</span>' for label, text in variants)
        return f'<span id="s" class="switchinline">{spans}</span>'

    mac = ' class="MAC"'
    keys = switch((mac, '<span class="keycode">Command</span>'), ("", '<span class="keycode">Ctrl</span>'))
    nested = switch((mac, "never " + switch(("", "inner"))), ("", "always"))
    only = switch((' class="CALC"', "sheet"), (' class="DRAW"', "page"))
    corpus = make(
        page(p("1", f"Press {keys}+<b>F</b> {nested} on the {only} now")),
        page(p("1", f"Tecle {keys}+F sempre na folha")),
    )
    assert pairs_of(corpus) == {("Press Ctrl+F always on the sheet now", "Tecle Ctrl+F sempre na folha")}


def test_an_unclosed_paragraph_ends_where_the_next_begins() -> None:
    english = page(
        '<p id="par_1">Open the<span class="switchinline"><span hidden="true">file', p("2", "Close the file")
    )
    corpus = make(english, page(p("1", "Abra o arquivo"), p("2", "Feche o arquivo")))
    assert pairs_of(corpus) == {("Open thefile", "Abra o arquivo"), ("Close the file", "Feche o arquivo")}


# ---- Alignment and cleaning.


def test_only_paragraphs_and_headings_with_an_id_of_the_help_are_aligned() -> None:
    corpus = make(
        page("<p>No id here</p>", '<p id="bm_1">Not the text</p>', '<h3 id="hd_7">A heading</h3>', p("1", "Some text")),
        page(
            "<p>Sem id aqui</p>", '<p id="bm_1">Não é o texto</p>', p("1", "Um texto"), '<h3 id="hd_7">Um título</h3>'
        ),
    )
    assert pairs_of(corpus) == {("A heading", "Um título"), ("Some text", "Um texto")}


def test_what_occurs_twice_is_aligned_in_order_and_what_has_no_counterpart_dropped() -> None:
    corpus = libreoffice._make(
        {
            "a.html": page(p("1", "The first"), p("1", "The second"), p("2", "One text"), p("2", "Two texts")),
            "b.html": page(p("1", "Another page")),
        },
        {"a.html": page(p("1", "O primeiro"), p("1", "O segundo"), p("2", "Um só texto")), "c.html": page(p("1", "C"))},
    )
    assert pairs_of(corpus) == {("The first", "O primeiro"), ("The second", "O segundo")}
    assert corpus.counts["without counterpart"] == 3


@pytest.mark.parametrize(
    ("step", "english", "portuguese", "label"),
    [
        ("empty", '<img alt="Icon">', "Ícone da barra", ""),
        ("empty", "An icon", " ", ""),
        ("code", "MsgBox text", "MsgBox texto", "code"),
        ("the same in both languages", "LibreOffice Calc", "LibreOffice calc", ""),
        ("characters beyond Latin-1", "The sign 中 here", "O símbolo aqui", ""),
        ("few letters", "=F.INV(0.5;5;10) is 0.93", "=INV.F(0,5;5;10) resulta em 0,9319", ""),
        ("few letters", "12 13 14", "doze", ""),
        ("lengths apart", "Wrap text on", "Ativar a disposição automática do texto em volta", ""),
        ("lengths apart", "The header comes before the text and after the title", "Cabeçalho", ""),
        ("repeated", "Some text", "Um texto", ""),
    ],
)
def test_each_step_of_cleaning(step: str, english: str, portuguese: str, label: str) -> None:
    corpus = make(
        page(p("1", "Some text"), p("2", english, label)),
        page(p("1", "Um texto"), p("2", portuguese, label)),
    )
    assert pairs_of(corpus) == {("Some text", "Um texto")}
    assert corpus.counts[step] == 1


def test_the_counts_add_up(pages: tuple[Pages, Pages]) -> None:
    corpus = libreoffice._make(*pages)
    counts = dict(corpus.counts)
    lost = sum(count for step, count in counts.items() if step in libreoffice._STEPS[1:9])
    assert counts["paragraphs"] == lost + counts["pairs"]
    assert counts["pairs"] == len(PAIRS) == len(pairs_of(corpus)) + counts["beside a tested pair"]
    found = clusters(PAIRS)
    assert (counts["clusters"], counts["largest cluster"]) == (len(found), max(map(len, found)))


# ---- Near-duplicates and splits.


def alike(one: str, other: str) -> float:
    """The definition, written again: the largest Jaccard index of two sentences."""

    def word_sets(text: str) -> list[set[str]]:
        parts, words = [[]], re.findall(r"[a-zà-ÿ]+|[.!?:;](?=\s)", text.lower())  # type: ignore[var-annotated]
        for word in words:
            parts.append([]) if word in ".!?:;" else parts[-1].append(word)
        long = [set(part) for part in parts if len(part) >= 4]
        return long or [{word for part in parts for word in part}]

    return max(len(a & b) / len(a | b) for a in word_sets(one) for b in word_sets(other))


def test_the_sentences_of_a_text() -> None:
    text = "Choose File - Open. Note: the 2 files are opened; see Help! Ok."
    assert sentences(text) == [frozenset(["the", "files", "are", "opened"])]
    assert sentences("Open file. Now!") == [frozenset({"open", "file", "now"})]
    assert sentences("Use Tools.Math and the 4 Rules") == [frozenset(["use", "tools", "math", "and", "the", "rules"])]


@given(
    st.lists(st.frozensets(st.sampled_from("abcdefgh"), min_size=1), max_size=25),
    st.sampled_from([0.3, 0.5, 0.6, NEAR, 2 / 3, 0.8, 1.0]),
)
def test_no_near_duplicate_is_overlooked(sets: list[frozenset[str]], threshold: float) -> None:
    found = list(near_duplicates(sets, threshold))
    assert len(found) == len({frozenset(pair) for pair in found})
    expected = {
        frozenset((i, j))
        for i, j in combinations(range(len(sets)), 2)
        if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold
    }
    assert {frozenset(pair) for pair in found} == expected


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_the_threshold_is_checked(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"above 0 and at most 1; got {threshold}"):
        list(near_duplicates([], threshold))


def test_either_language_and_a_chain_and_a_part_join_a_cluster() -> None:
    base = Pair("open the new red file", "abra o novo arquivo vermelho")
    in_english = Pair("open the new blue file", "outra frase bem diferente disso")
    in_portuguese = Pair("something else said very oddly", "abra o novo arquivo azul")
    chained = Pair("something else said most oddly", "mais uma vez outra coisa")
    part = Pair("Wait until it ends here. Open the new red file!", "Espere até que acabe. E depois faça mais isso.")
    apart = Pair("delete the old green folder", "apague a velha pasta verde")
    found = {frozenset(cluster) for cluster in clusters([base, in_english, apart, in_portuguese, chained, part], NEAR)}
    assert found == {frozenset({base, in_english, in_portuguese, chained, part}), frozenset({apart})}


def test_no_near_duplicate_straddles_the_splits(pages: tuple[Pages, Pages]) -> None:
    corpus = libreoffice._make(*pages)
    splits = (corpus.train, corpus.valid, corpus.test)
    assert all(len(split) >= 15 for split in splits)
    for one, other in combinations(splits, 2):
        assert max(alike(*texts) for a in one for b in other for texts in zip(a, b, strict=True)) < NEAR
    for split in (corpus.valid, corpus.test):
        assert all(4 <= len(pair.english.split()) <= 20 for pair in split)
        assert all(alike(*texts) < NEAR for a, b in combinations(split, 2) for texts in zip(a, b, strict=True))
    # Such a corpus has near-duplicates: a split at random parts them.
    mixed = random.Random(1).sample(PAIRS, len(PAIRS))
    assert max(alike(a.english, b.english) for a in mixed[:50] for b in mixed[50:]) > NEAR


def test_the_splits_depend_on_the_pairs_and_not_on_their_order() -> None:
    one, other = (
        libreoffice._split(pairs, "7.4", dict.fromkeys(libreoffice._STEPS, 0)) for pairs in (PAIRS, PAIRS[::-1])
    )
    assert one == other
    assert one.fingerprint == other.fingerprint
    assert libreoffice._split(PAIRS[1:], "7.4", dict(one.counts)).fingerprint != one.fingerprint


# ---- Folders and packages.


@pytest.mark.parametrize("place", [".", "help", "share/libreoffice/help", "usr/share/libreoffice/help"])
def test_a_tree_is_found(tmp_path: Path, pages: tuple[Pages, Pages], place: str) -> None:
    write_tree(tmp_path / place, pages)
    assert libreoffice_corpus(tmp_path, verify=False) == libreoffice._make(*pages)


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2"])
def test_packages_are_unpacked_without_dpkg(
    tmp_path: Path, pages: tuple[Pages, Pages], monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    empty_path(monkeypatch, tmp_path / "bin")
    write_debs(tmp_path / "debs", pages, compression=compression)
    assert libreoffice_corpus(tmp_path / "debs", verify=False) == libreoffice._make(*pages)


@pytest.mark.skipif(libreoffice.shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_packages_are_unpacked_by_dpkg(tmp_path: Path, pages: tuple[Pages, Pages]) -> None:
    write_debs(tmp_path, pages)
    assert libreoffice_corpus(tmp_path, verify=False) == libreoffice._make(*pages)


def test_a_known_package_must_have_its_checksum(tmp_path: Path, pages: tuple[Pages, Pages]) -> None:
    for number, version in enumerate(("4%3a7.4.7-1+deb12u14", "7.4.7-1%2bdeb12u13", "4:7.4.7-1+deb12u13")):
        folder = write_debs(tmp_path / str(number), pages, version)
        expected = rf"libreoffice-help-en-us_{re.escape(version)}_all.deb is damaged: expected the sha256 \w{{64}}; got"
        with pytest.raises(ValueError, match=expected):
            libreoffice_corpus(folder, verify=False)


@pytest.mark.parametrize("dpkg", [True, False])
@pytest.mark.parametrize("how", ["cut", "text", "bytes"])
def test_a_damaged_package_is_named(
    tmp_path: Path, pages: tuple[Pages, Pages], monkeypatch: pytest.MonkeyPatch, how: str, dpkg: bool
) -> None:
    if not dpkg:
        empty_path(monkeypatch, tmp_path / "bin")
    write_debs(tmp_path / "debs", pages)
    deb = next((tmp_path / "debs").glob(f"{PACKAGES[1]}*"))
    data = deb.read_bytes()
    middle = len(data) // 2
    deb.write_bytes(
        {"cut": data[:middle], "text": b"<html>", "bytes": data[:middle] + b"?" * (len(data) - middle)}[how]
    )
    with pytest.raises(ValueError, match=f"{PACKAGES[1]}.*deb cannot be unpacked"):
        libreoffice_corpus(tmp_path / "debs", verify=False)


def test_a_folder_without_the_help_is_named(tmp_path: Path, pages: tuple[Pages, Pages]) -> None:
    with pytest.raises(ValueError, match=f"one file {PACKAGES[0]}.*missing', with none"):
        libreoffice_corpus(tmp_path / "missing", verify=False)
    write_tree(tmp_path / "half", (pages[0], {}))
    with pytest.raises(ValueError, match=r"en-US/text and pt-BR/text.*half', with none"):
        libreoffice_corpus(tmp_path / "half", verify=False)
    write_debs(tmp_path / "two", pages, "1.0")
    write_debs(tmp_path / "two", pages, "2.0")
    with pytest.raises(ValueError, match=f"with {PACKAGES[0]}_1.0_all.deb, {PACKAGES[0]}_2.0_all.deb"):
        libreoffice_corpus(tmp_path / "two", verify=False)


# ---- apt, the fingerprint, and the cache.


def fake_apt(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    empty_path(monkeypatch, folder)
    apt = folder / "apt-get"
    apt.write_text(f"#!/bin/sh\n{script}\n")
    apt.chmod(apt.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def known(pages: tuple[Pages, Pages], monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """The synthetic corpus, as if it were the one that is expected."""
    corpus = libreoffice._make(*pages)
    monkeypatch.setattr(libreoffice, "FINGERPRINT", corpus.fingerprint)
    return corpus


def test_apt_downloads_both_packages(
    tmp_path: Path, pages: tuple[Pages, Pages], known: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    debs = write_debs(tmp_path / "debs", pages)
    fake_apt(monkeypatch, tmp_path / "bin", f'[ "$*" = "download {" ".join(PACKAGES)}" ] && /bin/cp {debs}/*.deb .')
    before = set(os.listdir())
    assert libreoffice_corpus(cache=tmp_path / "cache") == known
    assert set(os.listdir()) == before


def test_without_apt_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_path(monkeypatch, tmp_path / "bin")
    with pytest.raises(CorpusUnavailable, match=r"this machine has no apt-get(.|\n)*packages.debian.org(.|\n)*folder="):
        libreoffice_corpus(cache=tmp_path)


def test_the_words_of_apt_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_apt(monkeypatch, tmp_path / "bin", "echo 'E: Unable to locate package' >&2; exit 100")
    with pytest.raises(CorpusUnavailable, match=r"failed:\nE: Unable to locate package\n(.|\n)*apt-get update"):
        libreoffice_corpus(cache=tmp_path)


def test_another_version_is_refused_unless_allowed(tmp_path: Path, pages: tuple[Pages, Pages]) -> None:
    folder, cache = write_tree(tmp_path / "help", pages), tmp_path / "cache"
    corpus = libreoffice_corpus(folder, cache=cache, verify=False)
    message = f"fingerprint {FINGERPRINT}; got one of LibreOffice 7.4 with the fingerprint {corpus.fingerprint}"
    with pytest.raises(CorpusUnavailable, match=message):
        libreoffice_corpus(folder, cache=cache)
    assert not cache.exists()


def test_the_cache_is_read(
    tmp_path: Path, pages: tuple[Pages, Pages], known: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    write_tree(tmp_path / "help", pages)
    assert libreoffice_corpus(tmp_path / "help") == known
    empty_path(monkeypatch, tmp_path / "bin")
    again = libreoffice_corpus()
    assert again == known
    assert isinstance(again.test[0], Pair)
    assert [file.name for file in (tmp_path / "xdg/transformer_lib").iterdir()] == [
        f"libreoffice-{known.fingerprint[:12]}.json"
    ]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    libreoffice_corpus(tmp_path / "help")
    assert len(list((tmp_path / "home/.cache/transformer_lib").iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, pages: tuple[Pages, Pages], known: Corpus, damage: str) -> None:
    write_tree(tmp_path / "help", pages)
    libreoffice_corpus(tmp_path / "help", cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[:-9], "changed": whole.replace(b"end", b"and", 1), "empty": b""}[damage])
    assert libreoffice_corpus(tmp_path / "help", cache=tmp_path / "cache") == known
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, pages: tuple[Pages, Pages], known: Corpus
) -> None:
    write_tree(tmp_path / "help", pages)
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="could not be kept in .*cache"):
        assert libreoffice_corpus(tmp_path / "help", cache=tmp_path / "cache") == known


# ---- The real text.


@pytest.fixture(scope="module")
def real() -> Corpus:
    try:
        corpus = libreoffice_corpus(verify=False)  # made anew, so that the making is tested
    except CorpusUnavailable as error:
        pytest.skip(f"the LibreOffice help cannot be had: {str(error).splitlines()[0]}")
    if corpus.version != "7.4":
        pytest.skip(f"apt has LibreOffice {corpus.version}, and the expected help is of 7.4")
    return corpus


def test_the_real_corpus_is_the_known_one_and_the_card_describes_it(real: Corpus) -> None:
    assert real.fingerprint == FINGERPRINT
    assert Corpus.from_bytes(real.to_bytes()) == real
    card = (Path(__file__).parents[1] / "data_card.md").read_text("utf-8")
    numbers = [*real.counts.values(), len(real.train), len(real.valid), len(real.test)]
    assert [number for number in numbers if f"| {number:,} |" not in card] == []
    assert FINGERPRINT in card


def test_the_real_splits_are_of_use(real: Corpus) -> None:
    assert len(real.train) > 30_000
    for split in (real.valid, real.test):
        assert 1_000 <= len(split) <= 1_500
        assert all(len(pair.english.split()) in TESTED_WORDS for pair in split)
        assert not {pair.english for pair in split} & {pair.english for pair in real.train}
    everything = "".join(map("".join, real.train + real.valid + real.test))
    assert not re.search("[“”‘’–—…→<]span|\u00ad|CommandCtrl|PreferencesTools", everything)


@pytest.mark.parametrize("language", [0, 1])
def test_no_near_duplicate_straddles_the_real_splits(real: Corpus, language: int) -> None:
    # All sentences of the test and validation against all others, by counting shared words in a sparse product.
    numbers: dict[str, int] = {}
    sets: dict[str, list[list[int]]] = {}
    for split in ("train", "valid", "test"):
        texts = [pair[language] for pair in getattr(real, split)]
        parts = [
            re.findall("[a-zà-öø-ÿªºµ]+", part) for text in texts for part in re.split(r"(?<=[.!?:;])\s", text.lower())
        ]
        sets[split] = [[numbers.setdefault(w, len(numbers)) for w in set(part)] for part in parts if len(part) >= 4]

    def matrix(rows: list[list[int]]) -> torch.Tensor:
        places = torch.tensor([(i, word) for i, row in enumerate(rows) for word in row]).T
        return torch.sparse_coo_tensor(
            places, torch.ones(places.shape[1]), (len(rows), len(numbers)), check_invariants=False
        )

    for tested, others in (("test", "train"), ("valid", "train"), ("test", "valid")):
        known, largest = matrix(sets[others]), 0.0
        sizes = torch.tensor([len(row) for row in sets[others]])
        for start in range(0, len(sets[tested]), 256):
            rows = sets[tested][start : start + 256]
            shared = torch.sparse.mm(known, matrix(rows).to_dense().T)
            union = sizes[:, None] + torch.tensor([len(row) for row in rows]) - shared
            largest = max(largest, float((shared / union).max()))
        assert 0.4 < largest < NEAR, (tested, others)
