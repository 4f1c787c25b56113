# SPDX-License-Identifier: Apache-2.0
"""Writes tokenizer_goldens.h: what transformers' BertTokenizerFast makes of texts; vocabularies that tokenizers makes.

Unicode's tables of tokenizers are those of version 7. Of characters only those are looked at of which it says what
BERT's rules (unicode_words()) give with the tables of this Python, which are newer; their results are kept as a digest.
"""

import argparse
import tempfile
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
import transformers
from tokenizers import BertWordPieceTokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertTokenizerFast

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the a un want aff able runn play ed ing er s token hello world resume naive cafe istanbul strasse ss
    ß σ οδος i ı ö o 東 京 都 국 각 ᄀ ᅡ ᆨ ไทย שלום عربي سلام ё е й и 😀 👩 👩👩 ♀ ## # ! ? . , ' " - _ ( ) [ ] « » … — ´
    ` = $ + € ½ ² ﬁ x ab abc abcd Hello World Resume Café The É e mask MASK sep ꙋ ａ ≠ 一 々 ー の カ ハ ⁂ ⌘""".split()
PIECES = """##able ##ff ##ed ##ing ##er ##s ##a ##b ##c ##d ##e ##i ##o ##x ##ize ##izer ##orld ##ello ##anbul
    ##σ ##ος ##ß ##ı ##ᅡ ##ᆨ ##국 ##ย ##ום ##ي ##ё ##е ##😀 ##👩 ##ö ##é ##É ##² ##ﬁ ##〮 ##𝅥 ##𝅭 ##の ##カ ##ハ ##っ
    ##€ ##$ ##ａ""".split()

# Text, how often it is repeated.
TEXTS = [
    ("", 1), (" ", 1), (" \t\r\n ", 1), ("hello world", 1), ("Hello, WORLD!", 1),
    ("unwanted unaffable running players", 1), ("tokenizer tokenize tokenx tokeny", 1),
    ("résumé Résumé RÉSUMÉ naïve café Café CAFÉ", 1), ("re\u0301sume\u0301 cafe\u0301 E\u0301 o\u0308 O\u0308", 1),
    ("a\u0301\u0323\u0302\u0327b", 1), ("İstanbul ISTANBUL ıstanbul ıİ", 1), ("ΟΔΟΣ ΟΔΟΣ. οδος σΣ Σ", 1),
    ("Straße STRASSE ẞ ß ss", 1), ("Ö ö ÖÖ oö", 1), ("東京都 東京tower a東b一々", 1), ("のカー ガ パ ハ\u3099 カ\u3099 っの", 1),
    ("국각 가 각국 한국어 \u1100\u1161\u11a8", 1), ("ภาษาไทย ไทย", 1), ("שָׁלוֹם שלום", 1), ("العربية سَلام عربي\u064b", 1),
    ("\u202bשלום\u202c \u200fa\u200eb", 1), ("ёлка Ё й Й и\u0306", 1), ("😀 😀😀 a😀 👩\u200d👩 👩🏽 ❤\ufe0f ♀\ufe0f 🇩🇪", 1),
    ("👩\u200d👩\u200d👧\u200d👦", 1), ("\x00\x01a\x02b\x7f\x80\x85\x9fc", 1), ("a\ufffdb \ufeffab \u00adab a\u00adb", 1),
    ("a\u200bb a\u2060b a\u180eb", 1), ("a\u00a0b a\u2003b a\u3000b a\u2028b a\u2029b a\u1680b a\u202fb a\u205fb", 1),
    ("a\x0bb a\x0cb a\x1cb", 1), ("\ue000a \U000f0000b \U0010fffdc \U000e0041d", 1), ("\u0378a \u0379 \U0001fffe", 1),
    ("!!!... ?!?! --- ___ ((())) [[a]]", 1), ("a.b,c'd\"e-f_g", 1), ("«a» … — ´ ` ^ ~ | \\ / @ % & * { } < > ; :", 1),
    ("$5 +1 =2 € 5€ ½ x² ﬁx ≠ ≠= a≠b \u037e \u1fef \u0387", 1), ("can't won't it's", 1),
    ("##ing ##able # ## a##b", 1), ("[CLS] a [SEP] b [MASK] [PAD] [UNK]", 1),
    ("a[MASK]b [mask] [MASK [[MASK]] [MASK]]", 1), ("[SEP][SEP]é[CLS]", 1), ("ab", 49), ("ab", 50), ("ab", 51),
    ("x", 100), ("x", 101), ("é", 100), ("é", 101), ("국", 33), ("국", 34), ("x\u00ad", 100), ("a\u0301", 100),
    ("ab ", 300), ("the !", 3000), ("東", 200), ("b" * 200 + " a " + "b" * 99, 1), ("y" * 100 + " y", 1),
    ("a\U0001d165\U0001d16d\u302e\u0327\u0301b", 1),
    ("a\u302e\U0001d165 a\U0001d165\u302e a\u302e\u0941\U0001d165", 1), ("\u0301a \u0301 \u0301\u0301", 1),
    ("\u302ea \u20dda a\u20ddb \u0903", 1), ("Ａ ａ ＡＢ ﾊ ﾊﾟ ㄱ", 1), ("ǅ Ǆ ǆ Ⅷ ⓐ Ⓐ 𝐀 𝐚", 1),
    ("\ufa10 \uf900 \U0002f800 \U0002b820 \U0002b920 \U0002ceb0 \u9fff \u3400", 1), ("Ꙋ ꙋ Ⴀ ა Ა Ꭰ ꭰ Ꞁ", 1),
    ("q w e r t y 1 2 3", 1),
]  # fmt: skip

# a, b (None: a single text), length.
SAMPLES = [
    ("", None, 2), ("a b c", None, 2), ("a b c", None, 3), ("a b c", None, 5), ("a b c", None, 8), ("", None, 6),
    ("", "", 3), ("", "", 6), ("a", "", 6), ("", "b", 6), ("a b c", "x", 3), ("a b c", "x", 4), ("a b", "x ab", 4),
    ("a b c", "x ab", 5), ("a b", "x ab abc", 5), ("a b c d e", "x", 6), ("x", "a b c d e", 6),
    ("a b c d e", "x ab abc", 8), ("x ab abc", "a b c d e", 8), ("a a a a a a", "b b b b b b", 8),
    ("a a a a a a a", "b b b b b b", 8), ("a a a a a a", "b b b b b b b", 8), ("a a a a a a", "b b b b b b", 9),
    ("a a a a a a a", "b b b b b b", 9), ("a a a a a a", "b b b b b b b", 9), ("a a", "b b b b b b b", 10),
    ("unaffable", "running unaffable", 8), ("hello qqq!", "the [SEP] world", 16),
]  # fmt: skip

# Texts, size, lower case, characters.
SMALL = ["low low low low low lower lower newest newest newest newest newest newest widest widest widest"]
MIXED = ["aaaa aaaa aaa aa a aaaaa", "Ärger ärger Ärger Ä", "東京 東京 京都 都",
         "日本語 日本", "ππππ ππ π. π, π!", "no-one's no-one's (no)",
         "Zug zug ZUG Zugzwang zugzwang", "abcabcabc bcabca cabcab abc bca", "😀😀 😀😀 😀"]  # fmt: skip
VOCABULARIES = [(SMALL, 23, True, 1000), (SMALL, 30, True, 1000), (SMALL, 100, True, 1000), (MIXED, 200, True, 1000),
                (MIXED, 200, False, 1000), (MIXED, 70, True, 1000), (MIXED, 40, True, 12)]  # fmt: skip
LICENSE_SIZES = (100, 400, 2000)


def tokenizer(vocabulary: list[str], lower_case: bool) -> BertTokenizerFast:
    return BertTokenizerFast(vocab={piece: i for i, piece in enumerate(vocabulary)}, do_lower_case=lower_case)


def quoted(text: str) -> str:
    """A C string of its UTF-8."""
    plain = [chr(b) for b in range(32, 127) if chr(b) not in '"\\?']
    return '"' + "".join(chr(b) if chr(b) in plain else f"\\{b:03o}" for b in text.encode()) + '"'


def numbers(values: Iterable[int]) -> str:
    return quoted("".join(f" {value}" for value in values))


def braces(*values: object) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def lines_of(*lines: object) -> str:
    """A row of a table on lines of its own: a text may be longer than a line."""
    return "{\n" + "\n".join(f"        {line}" for line in lines) + "\n    }"


def golden_vocabulary() -> list[str]:
    vocabulary = SPECIALS + WORDS + PIECES
    assert len(set(vocabulary)) == len(vocabulary), [piece for piece in vocabulary if vocabulary.count(piece) > 1]
    return vocabulary


def texts(vocabulary: list[str]) -> Iterator[str]:
    both = [tokenizer(vocabulary, lower_case) for lower_case in (False, True)]
    for text, times in TEXTS:
        results = [t(text * times, add_special_tokens=False)["input_ids"] for t in both]
        # What repeats need not be written out.
        yield lines_of(f"{quoted(text)},", f"{len(text.encode())}, {times},", braces(*map(len, results)) + ",", "{",
                       *(f"{numbers(ids[:400])}," for ids in results), "},")  # fmt: skip


def samples(vocabulary: list[str]) -> Iterator[str]:
    t = tokenizer(vocabulary, True)
    for a, b, length in SAMPLES:
        batch = ([a],) if b is None else ([a], [b])  # of a single pair an empty b is taken for none
        result = t(*batch, truncation="longest_first", max_length=length, padding="max_length")
        n, types = sum(result["attention_mask"][0]), result["token_type_ids"][0]
        second = n - sum(types)
        assert types == [0] * second + [1] * (n - second) + [0] * (length - n)
        yield lines_of(f"{quoted(a)},", f"{'NULL' if b is None else quoted(b)},", f"{length}, {n}, {second},",
                       f"{numbers(result['input_ids'][0])},")  # fmt: skip


def unicode_words(text: str, lower_case: bool) -> list[str]:
    """BERT's rules with Python's tables; for texts without CJK."""
    kept = (c for c in text if c in "\t\n\r" or unicodedata.category(c) not in ("Cc", "Cf", "Co") and c != "\ufffd")
    text = "".join(" " if c in "\t\n\r" or unicodedata.category(c)[0] == "Z" else c for c in kept)
    if lower_case:
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        text = "".join(c.lower() for c in text)
    ascii_punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    return "".join(f" {c} " if c in ascii_punctuation or unicodedata.category(c)[0] == "P" else c for c in text).split()


def their_words(text: str, lower_case: bool) -> list[str]:
    normal = BertNormalizer(lowercase=lower_case).normalize_str(text)
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(normal)]


def characters() -> Iterator[str]:
    """Ranges of code points that are looked at; then the digest of their words, of "a", the character, "a"."""
    looked_at: list[list[int]] = []
    digests, left_out = [0, 0], 0
    for code in range(1, 0x110000):
        character = chr(code)
        if unicodedata.category(character) in ("Cn", "Cs", "Co"):
            continue
        text = f"a{character}a"
        both = [their_words(text, lower_case) for lower_case in (False, True)]
        spaced = BertNormalizer(lowercase=False).normalize_str(character).startswith(" ") and len(both[0]) == 3
        if not spaced and any(unicode_words(text, lower_case) != words for lower_case, words in enumerate(both)):
            left_out += 1
            continue
        if looked_at and looked_at[-1][1] == code - 1:
            looked_at[-1][1] = code
        else:
            looked_at.append([code, code])
        for lower_case in (0, 1):
            digests[lower_case] = zlib.crc32(("\n".join(both[lower_case]) + "\n\n").encode(), digests[lower_case])
    print(f"characters: {sum(b - a + 1 for a, b in looked_at)} looked at, {left_out} newer ones left out")
    yield f"static const uint32_t character_digest[2] = {{0x{digests[0]:08x}, 0x{digests[1]:08x}}};"
    yield "static const uint32_t character_ranges[][2] = {"
    ranges = [braces(f"0x{a:x}", f"0x{b:x}") for a, b in looked_at]
    for i in range(0, len(ranges), 5):
        yield "    " + ", ".join(ranges[i : i + 5]) + ","
    yield "};"


def trained(lines: list[str], size: int, lower_case: bool, alphabet: int, specials: list[str]) -> list[str]:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join(lines))
        file.flush()
        t = BertWordPieceTokenizer(lowercase=lower_case)
        t.train(file.name, vocab_size=size, min_frequency=2, limit_alphabet=alphabet, special_tokens=specials,
                show_progress=False)  # fmt: skip
    return [piece for piece, _ in sorted(t.get_vocab().items(), key=lambda item: item[1])]


def vocabulary_of(lines: list[str], size: int, lower_case: bool, alphabet: int) -> list[str]:
    """tokenizers numbers the characters that go on with a word by chance, and breaks ties by these numbers.

    Given as special tokens they are numbered by code point, as ours are.
    """
    counts = sorted(Counter("".join(word for line in lines for word in their_words(line, lower_case))).values())
    assert len(counts) <= alphabet or counts[-alphabet] > counts[-alphabet - 1], "the characters are chosen by chance"
    first = trained(lines, 0, lower_case, alphabet, SPECIALS)
    begin = first[: len(SPECIALS)] + sorted(first[len(SPECIALS) :], key=lambda piece: (len(piece), piece))
    return trained(lines, size, lower_case, alphabet, begin)


def vocabularies() -> Iterator[str]:
    for lines, size, lower_case, alphabet in VOCABULARIES:
        vocabulary = vocabulary_of(lines, size, lower_case, alphabet)
        yield lines_of(f"{quoted(chr(10).join(lines))},",
                       f"{size}, {str(lower_case).lower()}, {alphabet}, {len(vocabulary)},",
                       f"{quoted(chr(10).join(vocabulary) + chr(10))},")  # fmt: skip


def license_vocabularies(license: Path) -> Iterator[str]:
    lines = license.read_text().splitlines()
    for size in LICENSE_SIZES:
        vocabulary = vocabulary_of(lines, size, True, 1000)
        digest = zlib.crc32(("\n".join(vocabulary) + "\n").encode())
        yield braces(size, len(vocabulary), f"0x{digest:08x}", quoted(vocabulary[-1]))


def table(title: str, name: str, members: str, rows: Iterable[str]) -> list[str]:
    return ["", f"/* {title} */", f"static const struct {name} {{", f"    {members}", f"}} {name}s[] = {{",
            *(f"    {row}," for row in rows), "};"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "tokenizer_goldens.h",
                        help="the file (default: beside this script)")  # fmt: skip
    path = parser.parse_args().output
    vocabulary = golden_vocabulary()
    license = Path(__file__).parents[2] / "LICENSE"
    text = ["/* SPDX-License-Identifier: Apache-2.0 */", "/* Made by make_tokenizer.py, not to be edited:",
            f" * transformers {transformers.__version__}, tokenizers {tokenizers.__version__},"
            f" Unicode {unicodedata.unidata_version} */", "/* clang-format off */", "",
            "static const char golden_vocabulary[] ="]  # fmt: skip
    text += [f"    {quoted(piece + chr(10))}" for piece in vocabulary]
    text[-1] += ";"
    text += table("A text, its bytes, how often it is repeated; cased and in lower case: how many ids, and the first 400.",
                  "text_golden", "const char *text; size_t bytes; int times; size_t n[2]; const char *ids[2];",
                  texts(vocabulary))  # fmt: skip
    text += table("a, b, sequence; length, second, ids, in lower case.", "sample_golden",
                  "const char *a, *b; int sequence, length, second; const char *ids;", samples(vocabulary))  # fmt: skip
    text += ["", "/* CRC-32, cased and in lower case, of the words of each character between two \"a\", each with a newline,",
             " * and one behind them; and which characters. */", *characters()]  # fmt: skip
    text += table("Lines, size, lower case, characters; the vocabulary that is made of them.", "vocabulary_golden",
                  "const char *text; int size; bool lower_case; int alphabet, n; const char *vocabulary;",
                  vocabularies())  # fmt: skip
    text += table("Vocabularies of LICENSE: size; lines, CRC-32, last line.", "license_golden",
                  "int size, n; uint32_t crc; const char *last;", license_vocabularies(license))  # fmt: skip
    path.write_text("\n".join(text) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
