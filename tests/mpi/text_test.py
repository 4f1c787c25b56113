# SPDX-License-Identifier: Apache-2.0
"""data.dataset = text and synthetic_text: training, ranks, resuming, what is refused on resume, evaluation."""
import os
import re

import harness
from harness import BAD_CONFIG, BAD_DATA, RunTest

BERT = {
    "model.name": "bert_L2_H128",
    "optimizer.name": "adamw",
    "lr.schedule": "constant",
    "lr.base": 0.001,
    "train.batch_size": 12,
    "train.epochs": 2,
    "communication.reduction": "reproducible",
    "communication.shards": 4,
}
SYNTHETIC = {**BERT, "data.dataset": "synthetic_text", "data.sequence": 16, "data.train_samples": 60,
             "data.val_samples": 24}
TABLES = {**BERT, "data.dataset": "text", "data.path": "texts", "data.sequence": 12}
VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] a good bad book film ##s , is not the".split()


class TextTest(RunTest):
    def write_tables(self):
        """60 training and 24 validation texts, of other lengths."""
        os.makedirs(self.path("texts"))
        for name, n, first in (("train", 60, 0), ("dev", 24, 100)):
            rows = ["sentence\tlabel"]
            for i in range(first, first + n):
                words = ["the", ("book", "films")[i % 3 % 2], "is"] + ["not,"] * (i % 5) + [("good", "bad")[i % 2]]
                rows.append("%s\t%s" % (" ".join(words), ("praise", "blame")[(i + i % 5) % 2]))
            self.write("texts/%s.tsv" % name, "\n".join(rows) + "\n")
        self.write("texts/vocab.txt", "\n".join(VOCABULARY) + "\n")

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def assert_same_training(self, run, other):
        self.assert_same_state(self.latest(run), self.latest(other))
        for file, columns in (("steps.csv", ("step", "loss", "accuracy")),
                              ("epochs.csv", ("val_loss", "val_accuracy"))):
            for column in columns:
                self.assertEqual(self.column(run, file, column), self.column(other, file, column))

    def test_ranks_workers_and_stops_do_not_matter(self):
        self.write_tables()
        for base, kind in ((SYNTHETIC, "synthetic"), (TABLES, "tables")):
            with self.subTest(kind):
                one, two, four, parts = (kind + suffix for suffix in ("_1", "_2", "_4", "_parts"))
                self.train(one, 1, None, base)
                self.train(two, 2, {"data.workers": 3}, base)
                self.train(four, 4, None, base)
                self.train(parts, 2, {"train.max_steps": 3}, base)
                self.train(parts, 1, {"train.max_steps": 7}, base)
                self.train(parts, 2, None, base)
                for other in (two, four, parts):
                    self.assert_same_training(one, other)
                self.train(kind + "_other", 1, {"run.seed": 7}, base)
                self.assertFalse(self.equal_state(self.latest(one), self.latest(kind + "_other"), "/model"))

    def test_what_a_checkpoint_holds_is_enough_to_score_it(self):
        self.write_tables()
        self.train("run", 2, None, TABLES)
        self.assertEqual(self.values(self.latest("run"), "/data/texts"), [12, len(VOCABULARY)])
        held = self.tool("h5dump", "-d", "/data/vocab", self.latest("run"))
        for word in VOCABULARY:
            self.assertIn(word, held)
        self.assertIn("blame", self.tool("h5dump", "-d", "/data/classes", self.latest("run")))
        result = self.mpirun(1, "run.ini", "--evaluate", self.latest("run"))
        scored = re.search(r"loss=(\S+) top1=(\S+) .*images=24", result.out)
        last = self.rows("run", "epochs.csv")[-1]
        self.assertAlmostEqual(float(scored.group(1)), float(last["val_loss"]), 4)
        self.assertAlmostEqual(float(scored.group(2)), float(last["val_accuracy"]), 5)

    def test_other_texts_labels_and_vocabularies_are_refused_on_resume(self):
        self.write_tables()
        self.train("run", 1, {"train.max_steps": 3}, TABLES)
        for file, old, new in (("train.tsv", "the book is good", "the film is good"),
                               ("train.tsv", "\tblame", "\tpraise"), ("vocab.txt", "film", "novel")):
            with self.subTest(file=file, new=new):
                text = self.read("texts/" + file)
                self.assertIn(old, text)
                self.write("texts/" + file, text.replace(old, new, 1))
                self.assert_error(self.mpirun(1, "run.ini", "--set", "train.max_steps=0", code=BAD_DATA),
                                  "other texts, labels or vocabulary")
                self.write("texts/" + file, text)
        for key, value in (("data.sequence", 13), ("data.lower_case", "false")):
            self.assert_error(self.mpirun(1, "run.ini", "--set", "%s=%s" % (key, value), code=BAD_CONFIG), key)
        self.mpirun(1, "run.ini", "--set", "train.max_steps=0")
        self.train("whole", 1, None, TABLES)
        self.assert_same_training("whole", "run")

    def test_a_fault_of_a_table_ends_all_ranks_with_its_line(self):
        self.write_tables()
        lines = self.read("texts/dev.tsv").splitlines()
        lines[6] = "the book is good\tperhaps"
        self.write("texts/dev.tsv", "\n".join(lines))
        self.assert_error(self.train("run", 2, None, TABLES, code=BAD_DATA), "texts/dev.tsv:7: ", "'perhaps'")

    def test_models_and_data_must_go_together(self):
        self.write_tables()
        self.assert_error(self.train("a", 1, {"model.name": "resnet20"}, TABLES, code=BAD_CONFIG), "model.name")
        self.assert_error(self.train("b", 1, {"model.name": "resnet20"}, SYNTHETIC, code=BAD_CONFIG), "model.name")
        self.assert_error(self.train("c", 1, {"model.name": "bert_L2_H128"}, harness.TINY, code=BAD_CONFIG),
                          "model.name")
        self.assert_error(self.train("d", 1, {"data.augment": "crop_flip"}, TABLES, code=BAD_CONFIG), "data.augment")

    def test_check_tells_how_long_texts_are(self):
        self.write_tables()
        self.train("run", 1, {"train.max_steps": 1}, TABLES)
        out = self.mpirun(2, "run.ini", "--set", "run.name=other", "--check").out
        self.assertRegex(out, r"2 classes, 12 of %d word pieces" % len(VOCABULARY))
        self.assertIn("60 training and 24 validation texts", out)
        # [CLS] the book(or film ##s) is (not ,) x (i mod 5) good [SEP]
        lengths = [min(12, 6 + (i % 3 == 1) + 2 * (i % 5)) for i in range(60)]
        mean = sum(lengths) / 60
        self.assertIn("%.1f word pieces on average, 12 at most" % mean, out)
        self.assertIn("%.1f %% of a batch is padding" % (100 * (1 - mean / 12)), out)
        self.assertIn("%.1f %% fill the sequence" % (100 * lengths.count(12) / 60), out)


if __name__ == "__main__":
    harness.main()
