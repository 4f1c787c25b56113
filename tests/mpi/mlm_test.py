# SPDX-License-Identifier: Apache-2.0
"""train.objective = mlm: pretraining with masked tokens, and classifiers that begin with it."""
import json
import os
import random
import struct

import harness
from harness import BAD_CONFIG, BAD_DATA, RunTest

WORDS = ["w%d" % i for i in range(12)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
MLM = {
    "run.seed": 7,
    "data.dataset": "text",
    "data.path": "texts",
    "data.sequence": 16,
    "model.name": "bert_L2_H32_A2",
    "model.hidden_dropout": 0.1,
    "stochastic_depth.rate": 0.5,
    "stochastic_depth.schedule": "constant",
    "stochastic_depth.scale": "none",
    "stochastic_depth.unit": "block",
    "optimizer.name": "adamw",
    "lr.schedule": "constant",
    "lr.base": 0.003,
    "train.objective": "mlm",
    "train.epochs": 2,
    "train.batch_size": 12,
    "communication.reduction": "reproducible",
    "communication.shards": 4,
    "log.every_steps": 1,
}
CLASSIFY = {**MLM, "train.objective": "classify", "model.dropout": 0.1}


class MlmTest(RunTest):
    def setUp(self):
        super().setUp()
        os.makedirs(self.path("texts"))
        self.write("texts/vocab.txt", VOCABULARY)
        for name, n in (("train", 60), ("dev", 24)):
            chance = random.Random(name)
            rows = []
            for i in range(n):  # w1 w2 w3, or w1 w3 w5: a neighbour says what is hidden
                first, step = chance.randrange(12), 1 + i % 2
                words = [WORDS[(first + step * t) % 12] for t in range(chance.randrange(1, 15))]
                rows.append("%s\t%s" % (" ".join(words), ("odd", "even")[i % 2]))
            self.write("texts/%s.tsv" % name, ["text\tlabel", *rows])

    def write(self, name, lines):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read().splitlines()

    def test_ranks_workers_and_stops_do_not_matter(self):
        self.train("one", 1, None, MLM)
        self.train("two", 2, {"data.workers": 3}, MLM)
        self.train("four", 4, None, MLM)
        self.train("parts", 2, {"train.max_steps": 3}, MLM)  # within an epoch
        self.train("parts", 1, {"train.max_steps": 7}, MLM)
        self.train("parts", 2, None, MLM)
        for other in ("two", "four", "parts"):
            self.assert_same_state(self.latest("one"), self.latest(other))
            for file, columns in (("steps.csv", ("loss", "accuracy")),
                                  ("epochs.csv", ("train_loss", "train_accuracy", "val_loss", "val_accuracy"))):
                for column in columns:
                    self.assertEqual(self.column(other, file, column), self.column("one", file, column), column)
        self.train("other", 1, {"run.seed": 8}, MLM)
        self.assertFalse(self.equal_state(self.latest("one"), self.latest("other"), "/model"))

    def test_a_loss_is_the_mean_over_masked_tokens_and_scoring_has_the_same_masks_each_time(self):
        # Without training it is near log(17) nats a token, however many of them a text has.
        self.train("run", 2, {"lr.base": 0, "train.epochs": 2, "stochastic_depth.rate": 0}, MLM)
        for loss in self.column("run", "steps.csv", "loss", float):
            self.assertAlmostEqual(loss, 2.83, delta=0.2)
        rows = self.rows("run", "epochs.csv")
        self.assertEqual(rows[0]["val_loss"], rows[1]["val_loss"])
        self.assertNotEqual(rows[0]["train_loss"], rows[1]["train_loss"])
        told = self.mpirun(1, "run.ini", "--evaluate", self.latest("run")).out
        self.assertIn("loss=%.6f" % float(rows[1]["val_loss"]), told)

    def test_hidden_words_are_learned_from_their_neighbours(self):
        self.train("run", 2, {"train.epochs": 120, "stochastic_depth.rate": 0, "model.hidden_dropout": 0,
                              "checkpoint.every_epochs": 0, "eval.every_epochs": 40, "log.every_steps": 0}, MLM)
        rows = [row for row in self.rows("run", "epochs.csv") if row["val_loss"]]
        self.assertLess(float(rows[-1]["val_loss"]), 1.5)
        self.assertGreater(float(rows[-1]["val_accuracy"]), 0.5)

    def test_a_classifier_begins_with_a_masked_language_model(self):
        self.train("pre", 2, None, MLM)
        self.tool(os.environ["SD_SDTRAIN"], "export", self.latest("pre"), "pre.safetensors")
        for source in (self.latest("pre"), "pre.safetensors"):
            name = "fine_" + os.path.basename(source).partition(".")[0]
            result = self.train(name, 2, {"model.init": source, "lr.base": 0, "train.epochs": 1}, CLASSIFY)
            self.assertIn("the head keeps its initial values: the file has none; 5 tensors of another head passed over",
                          str(result))
            for tensor in ("bert.embeddings.word_embeddings.weight", "bert.encoder.layer.1.output.dense.weight"):
                self.assertEqual(self.values(self.latest("pre"), "/model/" + tensor),
                                 self.values(self.latest(name), "/model/" + tensor), tensor)
        self.train("on", 1, {"model.init": self.latest("pre"), "lr.base": 0, "train.epochs": 1}, MLM)
        self.assert_same_state(self.latest("pre"), self.latest("on"), ("/model",))

    def test_an_export_has_hugging_faces_names_and_the_table_once(self):
        self.train("pre", 1, {"train.epochs": 1}, MLM)
        self.tool(os.environ["SD_SDTRAIN"], "export", self.latest("pre"), "pre.safetensors")
        with open(self.path("pre.safetensors"), "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        heads = {name: entry["shape"] for name, entry in header.items() if name.startswith(("cls.", "bert.pooler"))}
        self.assertEqual(heads, {"cls.predictions.bias": [17], "cls.predictions.transform.dense.weight": [32, 32],
                                 "cls.predictions.transform.dense.bias": [32],
                                 "cls.predictions.transform.LayerNorm.weight": [32],
                                 "cls.predictions.transform.LayerNorm.bias": [32]})

    def test_labels_are_not_read(self):
        self.train("with", 1, None, MLM)
        for name in ("train", "dev"):
            self.write("texts/%s.tsv" % name, [line.partition("\t")[0] for line in self.read("texts/%s.tsv" % name)])
        self.train("without", 1, None, MLM)
        self.assert_same_state(self.latest("with"), self.latest("without"))
        self.train("fine", 1, None, CLASSIFY, code=BAD_CONFIG)

    def test_what_cannot_be_is_refused(self):
        for settings, key in (({"model.dropout": 0.1}, "model.dropout"),
                              ({"model.classes": 2}, "model.classes"),
                              ({"model.name": "resnet20"}, "model.name")):
            self.assert_error(self.train("bad", 1, settings, MLM, code=BAD_CONFIG), key)
        self.assert_error(self.train("images", 1, {"train.objective": "mlm"}, harness.TINY, code=BAD_CONFIG),
                          "train.objective", "data.dataset = synthetic")
        self.train("run", 1, {"train.max_steps": 2}, MLM)
        self.assert_error(self.mpirun(1, "run.ini", "--set", "train.objective=classify", "--set", "train.max_steps=0",
                                      code=BAD_CONFIG), "train.objective = classify, not mlm")
        self.write("texts/vocab.txt", [word for word in VOCABULARY if word != "[MASK]"])
        self.assert_error(self.train("mask", 2, None, MLM, code=BAD_DATA), "texts/vocab.txt:16: ", "[MASK]")


if __name__ == "__main__":
    harness.main()
