# SPDX-License-Identifier: Apache-2.0
"""sdtrain vocab: a vocabulary of the texts in files, and what is no text is named by file and line.

The tool is named by the environment: SD_SDTRAIN.
"""
import os
import subprocess

import harness
from harness import BAD_CONFIG, BAD_DATA, NO_INPUT, OK, USAGE, RunTest

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class VocabTest(RunTest):
    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return name

    def vocab(self, *words, code=OK):
        done = subprocess.run([os.environ["SD_SDTRAIN"], "vocab", *words], cwd=self.folder, capture_output=True, timeout=60,
                              check=False, env=harness.environment())
        self.assertEqual(done.returncode, code, "%s\n%s%s" % (words, done.stdout, done.stderr))
        return done.stdout.decode(), done.stderr.decode()

    def refuse(self, *words, code, says=()):
        out, err = self.vocab(*words, code=code)
        self.assertEqual(out, "")
        self.assertRegex(err, r"^sdtrain: error: [^\n]+\n$")
        for part in says:
            self.assertIn(part, err)

    def test_files_are_counted_together(self):
        self.write("a.txt", b"ab ab\r\nAB\n")
        self.write("b.txt", "\u00c4b abc\nabc xc".encode())
        out, err = self.vocab("a.txt", "b.txt", "--size", "100")
        self.assertEqual(out.split("\n"), SPECIALS + ["a", "b", "c", "x", "##b", "##c", "ab", "abc", ""])
        self.assertIn("4 texts, 7 words, 3 of them different: 13 word pieces", err)
        self.assertIn("13 word pieces, not 100", err)
        out, err = self.vocab("--size", "12", "b.txt", "a.txt")
        self.assertEqual(out.split("\n"), SPECIALS + ["a", "b", "c", "x", "##b", "##c", "ab", ""])
        self.assertNotIn("warning", err)

    def test_case_and_alphabet(self):
        self.write("a.txt", "\u00c4b \u00c4b b b b q".encode())
        self.assertEqual(self.vocab("a.txt", "--size", "20", "--cased")[0].split()[5:], ["b", "q", "\u00c4", "##b", "\u00c4b"])
        self.assertEqual(self.vocab("a.txt", "--size", "20", "--alphabet", "2")[0].split()[5:], ["a", "b", "##b", "ab"])

    def test_tables(self):
        self.write("train.tsv", b"sentence\tlabel\nab ab\t1\nAB ab\t0\n")
        self.write("pairs.csv", b'1,"b,\nb",ab\n2,"say ""b""",ab\n')
        out, err = self.vocab("train.tsv", "--size", "8")
        self.assertEqual(out.split(), SPECIALS + ["a", "b", "##b"])
        self.assertIn("2 texts, 4 words, 1 of them", err)
        out, err = self.vocab("pairs.csv", "--size", "99", "--text-columns", "2, 3")
        self.assertEqual(out.split(), SPECIALS + ['"', ",", "a", "b", "s", "y", "##a", "##b", "##y", "ab"])
        self.assertIn("2 texts", err)
        self.assertIn(',\n', self.vocab("pairs.csv", "--size", "99", "--text-columns", "2")[0])
        self.refuse("pairs.csv", "--size", "99", code=BAD_CONFIG, says=("--text-columns: ", "pairs.csv", "sentence"))
        self.refuse("train.tsv", "--size", "99", "--text-columns", "3", code=BAD_DATA, says=("train.tsv:1:", "column 3"))
        self.write("short.tsv", b"text\tlabel\nab\n")
        self.refuse("short.tsv", "--size", "99", code=BAD_DATA, says=("short.tsv:2:",))
        self.write("none.tsv", b"")
        self.refuse("none.tsv", "--size", "99", code=BAD_DATA, says=("no words",))
        self.refuse("train.tsv", "--size", "99", "--text-columns", "a,b,c", code=BAD_CONFIG, says=("more than 2",))

    def test_what_is_no_text(self):
        self.write("latin1.txt", b"good\nna\xefve\n")
        self.refuse("latin1.txt", "--size", "100", code=BAD_DATA, says=("latin1.txt:2:", "byte 3"))
        self.write("empty.txt", b"")
        self.refuse("empty.txt", "--size", "100", code=BAD_DATA, says=("no words",))
        self.refuse("missing.txt", "--size", "100", code=NO_INPUT, says=("missing.txt",))
        self.refuse(".", "--size", "100", code=NO_INPUT)
        self.write("a.txt", b"abc")
        self.refuse("a.txt", "--size", "9", code=BAD_CONFIG, says=("9 is too small", "are 10"))

    def test_wrong_words(self):
        self.write("a.txt", b"abc")
        for words in ((), ("a.txt",), ("--size", "100"), ("a.txt", "--size"), ("a.txt", "--size", "0"), ("a.txt", "--size", "1e3"),
                      ("a.txt", "--size", "100", "--alphabet", "-1"), ("a.txt", "--size", "100", "--lower"), ("a.txt", "--size", "9", "--text-columns")):
            self.refuse(*words, code=USAGE)


if __name__ == "__main__":
    harness.main()
