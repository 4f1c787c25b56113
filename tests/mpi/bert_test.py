# SPDX-License-Identifier: Apache-2.0
"""Texts: a BERT with every kind of dropout and LayerDrop learns, on any number of ranks to the same bits, resumed or not."""
import os
import random

import harness
import reproducible_test
from harness import BAD_CONFIG, TINY

WORDS = ["w%d" % i for i in range(20)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]

TINY_BERT = {
    **TINY,
    "data.dataset": "text",
    "data.path": "texts",
    "data.vocab": "vocab.txt",
    "data.sequence": 12,
    "model.name": "bert_L2_H32_A2",
    "model.dropout": 0.1,
    "model.hidden_dropout": 0.1,
    "model.attention_dropout": 0.1,
    "stochastic_depth.unit": "block",
    "stochastic_depth.scale": "none",
    "stochastic_depth.schedule": "constant",
    "optimizer.name": "adamw",
    "optimizer.decay": "matrices",
    "lr.base": 0.001,
}
# Shards of 2 and 3 texts; a last batch of 10.
REPRODUCIBLE = {"communication.reduction": "reproducible", "communication.shards": 8, "train.batch_size": 20,
                "data.train_samples": 90, "data.last_batch": "keep"}


def sentence(rng):
    """Of 1 to 14 words, some of which are cut; its class is whether w0 stands before w1."""
    words = [rng.choice(WORDS[2:]) for _ in range(rng.randrange(1, 11))] + ["w0", "w1"]
    head, tail = sorted(rng.sample(range(min(len(words), 8)), 2)) if len(words) > 2 else (0, 1)
    words = [w for w in words if w not in ("w0", "w1")]
    label = rng.randrange(2)
    words.insert(head, "w0" if label else "w1")
    words.insert(tail, "w1" if label else "w0")
    return " ".join(words), label


class BertTest(harness.RunTest):
    assert_same_results = reproducible_test.ReproducibleTest.assert_same_results

    def setUp(self):
        super().setUp()
        rng = random.Random(3)
        self.write("vocab.txt", "\n".join(VOCABULARY) + "\n")
        for name, n in (("train.tsv", 1500), ("dev.tsv", 200)):
            self.write("texts/" + name, "sentence\tlabel\n" + "".join("%s\t%d\n" % sentence(rng) for _ in range(n)))

    def write(self, name, text):
        path = self.path(*name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def test_the_same_bits_on_any_number_of_ranks(self):
        for scope in ("global", "sample"):
            for n in (1, 2, 4):
                self.train("%s%d" % (scope, n), n, {**REPRODUCIBLE, "stochastic_depth.scope": scope}, TINY_BERT)
            for n in (2, 4):
                self.assert_same_results(scope + "1", "%s%d" % (scope, n))

    def test_resumed_on_other_numbers_of_ranks_ends_in_the_same_bits(self):
        settings = {**REPRODUCIBLE, "stochastic_depth.scope": "sample"}
        self.train("whole", 2, settings, TINY_BERT)
        for ranks, stop in ((4, 2), (1, 5), (2, 0)):
            self.train("parts", ranks, {**settings, "train.max_steps": stop}, TINY_BERT)
        self.assert_same_results("whole", "parts")

    def test_embeddings_that_no_text_of_a_step_has_are_not_sent_and_the_bits_are_those_of_sending_all(self):
        unused = 300
        self.write("large.txt", "\n".join(VOCABULARY + ["unused%d" % i for i in range(unused)]) + "\n")
        settings = {**REPRODUCIBLE, "data.vocab": "large.txt", "stochastic_depth.rate": 0}
        for ranks in (1, 2, 4):
            self.train("some%d" % ranks, ranks, settings, TINY_BERT)
            self.train("all%d" % ranks, ranks, {**settings, "communication.skip_dropped": "false"}, TINY_BERT)
            self.assert_same_state(self.latest("some%d" % ranks), self.latest("all%d" % ranks))
            self.assert_same_state(self.latest("some%d" % ranks), self.latest("some1"))
        for name, ranks in (("some4", 4), ("all4", 4)):
            for row in self.rows(name, "steps.csv"):
                spared = int(row["bytes_full"]) - int(row["bytes_reduced"])
                self.assertEqual(spared % (4 * 32), 0)
                if name == "all4":
                    self.assertEqual(spared, 0)
                else:
                    self.assertGreaterEqual(spared, 4 * 32 * unused)

    def test_the_rows_that_are_sent_are_those_of_the_words_in_the_batch(self):
        with open(self.path("texts", "train.tsv"), encoding="utf-8") as file:
            texts = [line.split("\t")[0].split() for line in file.read().splitlines()[1:41]]
        words = {word for text in texts for word in text[:10]} | {"[CLS]", "[SEP]"}  # 12 ids a text
        self.write("large.txt", "\n".join(VOCABULARY + ["unused%d" % i for i in range(50)]) + "\n")
        for wire in ("fp32", "bf16"):
            self.train(wire, 2, {"data.vocab": "large.txt", "train.batch_size": 40, "stochastic_depth.rate": 0,
                                 "communication.wire": wire}, TINY_BERT)
            value_bytes = {"fp32": 4, "bf16": 2}[wire]
            dense = self.summary(wire)["parameters"] - 32 * (len(VOCABULARY) + 50)
            checked = self.mpirun(2, self.path(wire + ".ini"), "--check")
            self.assertIn("%d of %d are in a step's texts" % (len(words), len(VOCABULARY) + 50), checked.out)
            for row in self.rows(wire, "steps.csv"):
                self.assertEqual(int(row["bytes_reduced"]), value_bytes * (dense + 32 * len(words)))

    def test_it_learns_the_order_of_words(self):
        self.train("run", 2, {"data.train_samples": 1500, "data.val_samples": 200, "train.epochs": 5, "train.batch_size": 20,
                              "stochastic_depth.rate": 0.1, "log.decisions": "false",
                              "communication.check_every": 0}, TINY_BERT)
        top1 = self.column("run", "epochs.csv", "val_accuracy", float)
        self.assertGreater(top1[-1], 0.9, top1)

    def test_scaled_drops_are_refused(self):
        result = self.train("refused", 1, {"stochastic_depth.scale": "inference"}, TINY_BERT, code=BAD_CONFIG)
        self.assert_error(result, "stochastic_depth.scale", "bert_L2_H32_A2", "use none")


if __name__ == "__main__":
    harness.main()
