"""Real text: the help of LibreOffice, in English and in the Portuguese of Brazil.

    Click in a database range.                     Clique em um intervalo de banco de dados.
    Rotates the selected object.                   Gira o objeto selecionado.

The two Debian packages ``libreoffice-help-en-us`` and ``libreoffice-help-pt-br`` hold the same pages in both
languages, and a paragraph or heading has the same ``id`` in both. The text is under the Mozilla Public License 2.0 and
is no part of this library: ``libreoffice_corpus`` gets it through apt, or reads a folder that you name.

A manual repeats itself, so a split at random would test a model on what it has seen. *Near-duplicates* are two
sentences that share at least 0.65 of the words that either holds (their Jaccard index), capitals, digits and
punctuation aside; and two pairs of texts of which one has a sentence, in English or in Portuguese, that is a
near-duplicate of a sentence of the other. What chains of a somewhat closer resemblance connect is a *cluster*, and
lies in one split only; and of near-duplicates in two splits, the one that is for validation or test is dropped.

Source of the search for near-duplicates: Chaudhuri et al. (2006), *A Primitive Operator for Similarity Joins in Data
Cleaning* (prefix filtering).
"""

import hashlib
import io
import json
import lzma
import math
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from transformer_lib.data.pairs import Pair
from transformer_lib.data.text import normalized

PACKAGES = ("libreoffice-help-en-us", "libreoffice-help-pt-br")

#: The sha256 of the corpus that the book's numbers belong to, as it lies in the cache.
FINGERPRINT = "bd6fe280b948903400483ae2e544fa8d12fd0c89d7eed7729ef98ce525155bd2"

#: The sha256 of packages that hold this corpus. Others may hold it too, for the fingerprint decides.
KNOWN_PACKAGES = {
    "libreoffice-help-en-us_7.4.7-1+deb12u13": "e412ddf8314e9c3e896387e2e91160d76e63ddeda0770504e7bb98bcbf96d840",
    "libreoffice-help-en-us_7.4.7-1+deb12u14": "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712",
    "libreoffice-help-pt-br_7.4.7-1+deb12u13": "da71fe4adab159280bacd438ddf7c6c9f7f1a1768f4bba4460b2c91f4598770e",
    "libreoffice-help-pt-br_7.4.7-1+deb12u14": "600d4294e52a6534be923521aff7b1b9eb7e6ddb7e30b2598ad04b2fe9cf8278",
}

#: Sentences that share this much of their words are near-duplicates.
NEAR = 0.65
#: Clusters are made by chains of this resemblance, since chains of near-duplicates would connect thousands of pairs.
CHAINED = 0.75
#: A sentence of fewer words is compared only if its text has no longer one.
MIN_WORDS = 4
#: How many English words a pair may have to be kept for validation or test.
TESTED_WORDS = range(4, 21)
#: How many clusters of a hundred are kept for the test, and as many for validation.
TESTED_PERCENT = 9

_ROUNDING = 1e-9

_LANGUAGES = ("en-US", "pt-BR")
_PLACES = ("", "help", "share/libreoffice/help", "usr/share/libreoffice/help")
_ADVICE = """To get it, do one of these:
  - on Debian 12: run apt-get update as administrator, and try again;
  - elsewhere: download the packages for "all" architectures from https://packages.debian.org/bookworm/{}
    and https://packages.debian.org/bookworm/{}, put the two files into a folder, and pass folder=…;
  - for numbers of your own: pass verify=False, and any version of the two packages will do; or an installed
    LibreOffice, whose folder "help" you pass as folder=….""".format(*PACKAGES)


class CorpusUnavailable(RuntimeError):
    """The LibreOffice help cannot be got on this machine, or only in another version."""


@dataclass(frozen=True)
class Corpus:
    """Pairs of texts for training, validation and test.

    Args:
        train: pairs of any length.
        valid: pairs of 4 to 20 English words, of each cluster of near-duplicates one.
        test: likewise.
        version: LibreOffice's.
        counts: how many pairs each step took away, and how many clusters there were.
    """

    train: tuple[Pair, ...]
    valid: tuple[Pair, ...]
    test: tuple[Pair, ...]
    version: str
    counts: dict[str, int]

    @property
    def fingerprint(self) -> str:
        """The sha256 of :meth:`to_bytes`."""
        return _sha256(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The corpus as JSON; equal corpora give equal bytes."""
        return json.dumps(vars(self), ensure_ascii=False, indent=0).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Corpus":
        """The corpus of which these are the :meth:`to_bytes`.

        Args:
            data: JSON.
        """
        content = json.loads(data)
        for split in ("train", "valid", "test"):
            content[split] = tuple(Pair(*pair) for pair in content[split])
        return cls(**content)


def libreoffice_corpus(
    folder: str | os.PathLike[str] | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    verify: bool = True,
) -> Corpus:
    """The help of LibreOffice in English and Portuguese, cleaned and split.

    The first call takes up to a minute, later ones read the cache.

    Args:
        folder: where to read the help if the cache does not have it: a folder with the two Debian packages, the place
            where they are unpacked, or the folder ``help`` of an installed LibreOffice. Unless given, ``apt-get``
            downloads the packages into a temporary folder; nothing is installed.
        cache: the folder to keep the corpus in; unless given, ``transformer_lib`` in ``$XDG_CACHE_HOME`` or in
            ``~/.cache``. What is damaged there is made again.
        verify: accept only the corpus that the book's numbers belong to. Otherwise any version of the help will do,
            and the cache is neither read nor written.

    Raises:
        ValueError: ``folder`` does not hold the help in both languages, or holds a damaged package.
        CorpusUnavailable: the packages cannot be downloaded, or the help is not the one expected.
    """
    kept = _cache_folder(cache) / f"libreoffice-{FINGERPRINT[:12]}.json"
    if verify and kept.is_file() and _sha256(data := kept.read_bytes()) == FINGERPRINT:
        return Corpus.from_bytes(data)
    if folder is not None:
        help_pages = _read(Path(folder))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            _download(Path(temporary))
            help_pages = _read(Path(temporary))
    corpus = _make(*help_pages)
    if verify:
        if corpus.fingerprint != FINGERPRINT:
            raise CorpusUnavailable(
                f"expected the corpus of LibreOffice 7.4 with the fingerprint {FINGERPRINT}; got one of LibreOffice "
                f"{corpus.version} with the fingerprint {corpus.fingerprint}.\n{_ADVICE}"
            )
        _keep(kept, corpus.to_bytes())
    return corpus


# ---- Getting the pages: by language, a dictionary from their paths to their HTML.


def _download(folder: Path) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        raise CorpusUnavailable(
            f"the LibreOffice help is not in the cache, and this machine has no apt-get.\n{_ADVICE}"
        )
    command = [apt, "download", *PACKAGES]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise CorpusUnavailable(f"{' '.join(command)} did not end within ten minutes.\n{_ADVICE}") from error
    if done.returncode != 0:
        raise CorpusUnavailable(f"{' '.join(command)} failed:\n{done.stderr.strip()}\n{_ADVICE}")


def _read(folder: Path) -> list[dict[str, str]]:
    for place in _PLACES:
        roots = [folder / place / language / "text" for language in _LANGUAGES]
        if all(root.is_dir() for root in roots):
            return [
                {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in sorted(root.rglob("*.html"))}
                for root in roots
            ]
    found = [sorted(folder.glob(f"{package}_*.deb")) for package in PACKAGES]
    for package, debs in zip(PACKAGES, found, strict=True):
        if len(debs) != 1:
            names = ", ".join(deb.name for deb in debs) or "none"
            raise ValueError(
                f"folder must hold the help's en-US/text and pt-BR/text, or one file {package}_….deb; "
                f"got {str(folder)!r}, with {names}.\n{_ADVICE}"
            )
    return [_unpack(deb, language) for (deb,), language in zip(found, _LANGUAGES, strict=True)]


def _unpack(deb: Path, language: str) -> dict[str, str]:
    name = re.sub(r"_(\d+(%3a|:))?", "_", deb.name, count=1, flags=re.IGNORECASE).removesuffix("_all.deb")
    expected, actual = KNOWN_PACKAGES.get(name.replace("%2b", "+")), _sha256(deb.read_bytes())
    if expected not in (None, actual):
        raise ValueError(f"{deb} is damaged: expected the sha256 {expected}; got {actual}")
    pages = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_archive(deb))) as archive:
            for member in archive:
                _, inside, path = member.name.partition(f"/{language}/text/")
                if inside and path.endswith(".html") and (file := archive.extractfile(member)):
                    pages[path] = file.read().decode()
    except (tarfile.TarError, lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{deb} cannot be unpacked: {error}") from error
    return pages


def _archive(deb: Path) -> bytes:
    """The files in a Debian package, as an archive for ``tarfile``."""
    if dpkg := shutil.which("dpkg-deb"):
        done = subprocess.run([dpkg, "--fsys-tarfile", deb], capture_output=True)
        if done.returncode != 0:
            raise tarfile.ReadError(done.stderr.decode(errors="replace").strip())
        return done.stdout
    # Members of the package, each after a line of 60 bytes: its name, its size from byte 48 on; at even places.
    data, start = deb.read_bytes(), len(b"!<arch>\n")
    while len(line := data[start : start + 60]) == 60:
        end = start + 60 + int(line[48:58])
        if line.startswith((b"data.tar ", b"data.tar/", b"data.tar.gz", b"data.tar.xz", b"data.tar.bz2")):
            return data[start + 60 : end]
        start = end + end % 2
    raise tarfile.ReadError("found no files that Python can unpack; install dpkg")


# ---- From pages to pairs.


_BLOCKS = ("p", "h1", "h2", "h3", "h4", "h5", "h6")


class _Paragraphs(HTMLParser):
    """Collects the paragraphs and headings that have an ``id``, each as its ``id``, its class and its text.

    Where the help says one thing for macOS and another for other systems, the text is the latter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._id: str | None = None
        self._class = ""
        self._texts: list[list[str]] = [[]]  # the paragraph, and the variant in which we are
        self._spans: list[tuple[str, str, list[tuple[str, str]]]] = []  # what each is, its class, its variants

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag in _BLOCKS:
            self.end()
            name = attributes.get("id") or ""
            self._id = name if name.startswith(("par_", "hd_")) else None
            self._class = attributes.get("class") or ""
        elif tag == "br":
            self._texts[-1].append(" ")
        elif tag == "span" and self._id is not None:
            label, kind = attributes.get("class") or "", "plain"
            if label == "switchinline":
                kind = "switch"
            elif "hidden" in attributes and self._spans and self._spans[-1][0] == "switch":
                kind = "variant"
                self._texts.append([])
            self._spans.append((kind, label, []))

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.end()
        elif tag == "span" and self._spans:
            kind, label, variants = self._spans.pop()
            if kind == "variant":
                self._spans[-1][2].append((label, "".join(self._texts.pop())))
            elif kind == "switch" and variants:
                default = [text for label, text in variants if not label]
                self._texts[-1].append((default or [variants[0][1]])[0])

    def handle_data(self, data: str) -> None:
        if self._id is not None:
            self._texts[-1].append(data)

    def end(self) -> None:
        """The paragraph is over."""
        while self._spans:
            self.handle_endtag("span")
        if self._id is not None:
            self.found.append((self._id, self._class, "".join(self._texts[0])))
        self._id, self._texts = None, [[]]


def _paragraphs(page: str) -> dict[str, list[tuple[str, str]]]:
    """Class and text of a page's paragraphs by their ``id``, which may occur more than once."""
    parser = _Paragraphs()
    parser.feed(page)
    parser.close()
    parser.end()
    found = defaultdict(list)
    for name, label, text in parser.found:
        found[name].append((label, normalized(text)))
    return found


_CODE = ("code", "codeintable", "smathcode", "example")


def _fault(label: str, english: str, portuguese: str) -> str | None:
    """Why a pair is of no use, if so; ``label`` is the paragraph's class."""
    if not english or not portuguese:
        return "empty"
    if label in _CODE:
        return "code"
    if english.casefold() == portuguese.casefold():
        return "the same in both languages"
    if max(english + portuguese) > "\N{LATIN SMALL LETTER Y WITH DIAERESIS}":
        return "characters beyond Latin-1"
    if any(sum(map(str.isalpha, text)) < 0.6 * len(text.replace(" ", "")) for text in (english, portuguese)):
        return "few letters"
    if not 0.5 < (len(portuguese) + 10) / (len(english) + 10) < 2.0:
        return "lengths apart"
    return None


def _make(english: dict[str, str], portuguese: dict[str, str]) -> Corpus:
    counts = dict.fromkeys(_STEPS, 0)
    pairs: dict[Pair, None] = {}
    for path, page in sorted(english.items()):
        ours, theirs = _paragraphs(page), _paragraphs(portuguese.get(path, ""))
        for name, texts in ours.items():
            counts["paragraphs"] += len(texts)
            others = theirs.get(name, [])
            if len(others) != len(texts):
                counts["without counterpart"] += len(texts)
                continue
            for (label, source), (_, target) in zip(texts, others, strict=True):
                fault = _fault(label, source, target) or ("repeated" if (source, target) in pairs else None)
                if fault:
                    counts[fault] += 1
                else:
                    pairs[Pair(source, target)] = None
    version = next((m[1] for page in english.values() if (m := re.search(r"LibreOffice (\d[\d.]*) Help", page))), "?")
    return _split(list(pairs), version, counts)


_STEPS = (
    "paragraphs",
    "without counterpart",
    "empty",
    "code",
    "the same in both languages",
    "characters beyond Latin-1",
    "few letters",
    "lengths apart",
    "repeated",
    "pairs",
    "clusters",
    "largest cluster",
    "beside a tested pair",
    "near another split",
)


# ---- From pairs to splits.


def sentences(text: str) -> list[frozenset[str]]:
    """The words of each sentence of a text, as near-duplicates are judged by them.

    A sentence ends with one of ``.!?:;`` and a blank. Those of fewer than four words count only if there is no longer
    one; then the text counts as a whole.

    Args:
        text: English or Portuguese.
    """
    parts = re.split(r"(?<=[.!?:;])\s+", text.lower())
    found = [words for part in parts if len(words := re.findall(r"[^\W\d_]+", part)) >= MIN_WORDS]
    return [frozenset(words) for words in found or [re.findall(r"[^\W\d_]+", text.lower())]]


def near_duplicates(sets: Sequence[frozenset[str]], threshold: float = NEAR) -> Iterator[tuple[int, int]]:
    """Find every two sets whose Jaccard index, what they share of what either holds, reaches a threshold.

    Two such sets share one of their rarest members, so only those are looked up.

    Args:
        sets: words, say.
        threshold: above 0, and at most 1.

    Yields:
        The places of two sets, the larger first.

    Raises:
        ValueError: a threshold out of bounds.
    """
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must be above 0 and at most 1; got {threshold}")
    counts = Counter(member for members in sets for member in members)
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(sets)), key=lambda place: len(sets[place])):
        members = sets[place]
        size, enough = len(members), threshold * len(members) - _ROUNDING
        rarest = sorted(members, key=lambda member: (counts[member], member))
        # The members beyond these are too few to reach the threshold alone.
        for other in {holder for member in rarest[: size - math.ceil(enough) + 1] for holder in holders[member]}:
            if len(sets[other]) >= enough:
                shared = len(members & sets[other])
                if shared / (size + len(sets[other]) - shared) >= threshold:
                    yield place, other
        # Those who look this set up later are as large at least, so they must share even more of it.
        for member in rarest[: size - math.ceil(2.0 * enough / (1.0 + threshold)) + 1]:
            holders[member].append(place)


def clusters(pairs: Sequence[Pair], threshold: float = CHAINED) -> list[list[Pair]]:
    """Gather the pairs that are near-duplicates in either language, or are so through others.

    Args:
        pairs: translations.
        threshold: for :func:`near_duplicates`.

    Returns:
        Lists that together hold every pair once.
    """
    parents = list(range(len(pairs)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    for texts in zip(*pairs, strict=True):
        first: dict[frozenset[str], int] = {}  # the first pair with this sentence
        for number, text in enumerate(texts):
            for words in sentences(text):
                parents[root(number)] = root(first.setdefault(words, number))
        owners = list(first.values())
        for one, other in near_duplicates(list(first), threshold):
            parents[root(owners[one])] = root(owners[other])
    gathered = defaultdict(list)
    for number, pair in enumerate(pairs):
        gathered[root(number)].append(pair)
    return list(gathered.values())


def _split(pairs: list[Pair], version: str, counts: dict[str, int]) -> Corpus:
    """Assign clusters to splits by a hash of their members, whatever their order."""
    found = clusters(pairs)
    splits: dict[str, list[Pair]] = {"train": [], "valid": [], "test": []}
    for cluster in found:
        short = [pair for pair in cluster if len(pair.english.split()) in TESTED_WORDS]
        if short:
            chosen = min(short, key=_digest)
            lot = int.from_bytes(_digest(chosen)[-8:]) % 100
            if lot < 2 * TESTED_PERCENT:
                splits["test" if lot < TESTED_PERCENT else "valid"].append(chosen)
                counts["beside a tested pair"] += len(cluster) - 1
                continue
        splits["train"] += cluster
    for name, pair in _straddling(splits, 0) + _straddling(splits, 1):
        if pair in splits[name]:
            splits[name].remove(pair)
            counts["near another split"] += 1
    counts.update({"pairs": len(pairs), "clusters": len(found), "largest cluster": max(map(len, found), default=0)})
    train, valid, test = (tuple(sorted(split, key=_digest)) for split in splits.values())
    return Corpus(train, valid, test, version, counts)


def _straddling(splits: dict[str, list[Pair]], language: int) -> list[tuple[str, Pair]]:
    """The pairs for validation and test with a near-duplicate in another split that stays."""
    holders: defaultdict[frozenset[str], list[tuple[str, Pair]]] = defaultdict(list)
    for name, pairs in splits.items():
        for pair in pairs:
            for words in sentences(pair[language]):
                holders[words].append((name, pair))
    sets, leaves = list(holders), {"train": 0, "test": 1, "valid": 2}  # of two splits the later one gives its pair
    return [
        max(one, other, key=lambda held: leaves[held[0]])
        for here, there in near_duplicates(sets, NEAR)
        for one in holders[sets[here]]
        for other in holders[sets[there]]
        if one[0] != other[0]
    ]


def _digest(pair: Pair) -> bytes:
    return hashlib.sha256("\t".join(pair).encode()).digest()


# ---- The cache.


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _cache_folder(cache: str | os.PathLike[str] | None) -> Path:
    if cache is not None:
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transformer_lib"


def _keep(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; where that fails, the corpus is merely made again the next time."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(f"the corpus could not be kept in {path.parent}: {error}", stacklevel=3)
