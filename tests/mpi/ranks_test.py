# SPDX-License-Identifier: Apache-2.0
"""The same training on any number of ranks."""
import math

import harness
from harness import BAD_CONFIG, INTERNAL, USAGE, RunTest, TINY_VIT


class RanksTest(RunTest):
    def test_decisions_are_the_same_on_any_number_of_ranks(self):
        decisions = {}
        for ranks in (1, 2, 3, 4, 8):
            name = "ranks%d" % ranks
            # 48 images over 8 ranks; check_every = 1 compares the weights of all ranks after every step.
            self.train(name, ranks, {"data.train_samples": 48, "data.val_samples": 16, "train.batch_size": 16})
            decisions[ranks] = self.rows(name, "decisions.csv")
            kept = self.column(name, "steps.csv", "kept", int)
            self.assertEqual([row["kept"].count("1") for row in decisions[ranks]], kept)
            self.assertEqual({len(row["kept"]) for row in decisions[ranks]}, {9})
            self.assertEqual(self.column(name, "steps.csv", "branches"), ["9"] * 6)
        for ranks, rows in decisions.items():
            self.assertEqual(rows, decisions[1], "%d ranks decide otherwise than one" % ranks)
        strings = [row["kept"] for row in decisions[1]]
        self.assertEqual(len(strings), 6)
        self.assertGreater(len(set(strings)), 1, "every step decides the same")
        self.assertIn("0", "".join(strings))

    def test_another_seed_decides_otherwise(self):
        for seed in (1, 4294967295):
            self.train("seed%d" % seed, 1, {"run.seed": seed, "train.max_steps": 4})
        self.assertNotEqual(self.rows("seed1", "decisions.csv"), self.rows("seed4294967295", "decisions.csv"))

    def test_loss_curve_of_four_ranks_is_that_of_one(self):
        # float32 sums of 16 images in another order: errors of some 1e-7, grown by 5 small steps.
        settings = {"train.batch_size": 16, "data.train_samples": 80}
        for ranks in (1, 4):
            self.train("vit%d" % ranks, ranks, settings, TINY_VIT)
        one, four = (self.column("vit%d" % ranks, "steps.csv", "loss", float) for ranks in (1, 4))
        self.assertEqual(len(one), 5)
        self.assert_close(four, one, 1e-5)
        self.assertNotEqual(one[0], one[4])
        for a, b in zip(self.rows("vit1", "epochs.csv"), self.rows("vit4", "epochs.csv")):
            self.assert_close([float(b["train_loss"]), float(b["val_loss"])],
                              [float(a["train_loss"]), float(a["val_loss"])], 1e-5)

    def test_uneven_shares_of_a_batch_are_weighted_exactly(self):
        # 10 images over 3 ranks, and a last batch of 5.
        settings = {"train.batch_size": 10, "data.train_samples": 45, "data.last_batch": "keep",
                    "data.augment": "crop_flip", "train.label_smoothing": 0.1, "model.dropout": 0.2,
                    "optimizer.clip_norm": 0.5}
        for ranks in (1, 3):
            self.train("uneven%d" % ranks, ranks, settings, TINY_VIT)
        one, three = (self.column("uneven%d" % ranks, "steps.csv", "loss", float) for ranks in (1, 3))
        self.assertEqual(len(one), 5)
        self.assert_close(three, one, 1e-5)

    def test_batch_norm_statistics_are_weighted_by_uneven_shares(self):
        # The stem's channel means over 10 images are the weighted means of 3, 3 and 4 of them.
        settings = {"train.batch_size": 10, "train.max_steps": 1}
        for ranks in (1, 3):
            self.train("bn%d" % ranks, ranks, settings)
        one, three = (self.values(self.latest("bn%d" % ranks), "/model/bn1.running_mean") for ranks in (1, 3))
        self.assertEqual(len(one), 16)
        for a, b in zip(three, one):
            self.assertAlmostEqual(a, b, delta=1e-6)
        self.assertGreater(max(map(abs, one)), 1e-3)

    def test_first_step_of_a_resnet_has_the_loss_of_its_shards(self):
        # Batch norm sees a rank's own images, so losses differ between rank counts, but stay finite and of one size.
        for ranks in (1, 4):
            self.train("bn%d" % ranks, ranks, {"train.max_steps": 1})
        one, four = (self.column("bn%d" % ranks, "steps.csv", "loss", float)[0] for ranks in (1, 4))
        self.assertTrue(abs(four - one) < 0.5 * one, (one, four))

    def test_same_run_has_same_bits(self):
        for name in ("a", "b"):
            self.train(name, 3)
        self.assert_same_state(self.latest("a"), self.latest("b"))
        self.train("c", 3, {"run.seed": 8})
        self.assertFalse(self.equal_state(self.latest("a"), self.latest("c"), "/model"))

    def test_threads_and_loader_workers_do_not_change_a_bit(self):
        augmented = {"data.augment": "crop_flip"}
        self.train("one", 2, {**augmented, "data.workers": 1, "run.threads": 1})
        self.train("more", 2, {**augmented, "data.workers": 4, "run.threads": 3})
        self.assert_same_state(self.latest("one"), self.latest("more"))
        self.assertEqual(self.summary("more")["threads"], 3)


class DisagreementTest(RunTest):
    """mpirun's ':' starts ranks with different command lines, as a broken launch script would."""

    SAME = ["--set", "communication.check_every=0", "--set", "log.decisions=false"]

    def disagree(self, first, second, codes=(INTERNAL, BAD_CONFIG)):
        config = self.write_config("run")
        return self.mpirun_two([config, *first], [config, *second], codes, limit=15)

    def test_other_weights_on_one_rank_end_the_run(self):
        result = self.disagree([], ["--set", "model.zero_init_residual=true"])
        self.assertRegex(result.errors[0], "weights|configuration")

    def test_other_decisions_on_one_rank_end_the_run(self):
        # Rates do not touch the weights that ranks start with.
        plain = ["--set", "communication.check_every=0"]
        result = self.disagree(plain, [*plain, "--set", "stochastic_depth.rate=0.9"])
        self.assertRegex(result.errors[0], "decides|configuration")

    def test_other_learning_rate_on_one_rank_is_refused(self):
        self.disagree(self.SAME, [*self.SAME, "--set", "lr.base=0.02"])

    def test_ranks_asked_for_different_things_do_not_hang(self):
        self.disagree(["--check"], [], (INTERNAL, BAD_CONFIG, USAGE))


class BatchesTest(RunTest):
    def test_last_batch_is_dropped_or_kept(self):
        settings = {"data.train_samples": 45, "train.epochs": 2, "train.batch_size": 8}
        self.train("drop", 3, {**settings, "data.last_batch": "drop"})
        self.train("keep", 3, {**settings, "data.last_batch": "keep"})
        self.assertEqual(self.column("drop", "epochs.csv", "step"), ["5", "10"])
        self.assertEqual(self.column("keep", "epochs.csv", "step"), ["6", "12"])
        self.assertEqual(self.summary("drop")["images"], 2 * 40)
        self.assertEqual(self.summary("keep")["images"], 2 * 45)
        # The short batch has 5 images: its accuracy is a whole number of fifths, and the epoch's of 45ths.
        last = float(self.rows("keep", "steps.csv")[5]["accuracy"])
        self.assert_whole(last * 5)
        for accuracy in self.column("keep", "epochs.csv", "train_accuracy", float):
            self.assert_whole(accuracy * 45)

    def test_short_batch_that_leaves_a_rank_without_images_is_dropped_and_logged(self):
        settings = {"data.train_samples": 18, "train.epochs": 1, "data.last_batch": "keep"}
        result = self.train("tooshort", 3, settings)
        self.assertEqual(self.column("tooshort", "epochs.csv", "step"), ["2"])
        self.assertEqual(self.summary("tooshort")["images"], 16)
        self.assertTrue([line for line in result.lines if line.startswith("sdtrain-mpi:") and "last batch" in line],
                        "nothing says that 2 images an epoch are not trained on\n%s" % result)

    def assert_whole(self, value):
        self.assertTrue(abs(value - round(value)) < 1e-5, value)

    def test_batch_norm_over_one_value_a_channel_is_refused(self):
        # resnet20 at 8 pixels ends in 2 x 2 maps: fine; resnet18 with its ImageNet stem ends in 1 x 1 maps at 32.
        small = {"model.name": "resnet18", "model.stem": "imagenet", "data.image_size": 32, "train.max_steps": 1}
        result = self.train("one", 3, {**small, "train.batch_size": 5}, code=BAD_CONFIG)
        self.assert_error(result, "train.batch_size", "6")
        self.train("two", 3, {**small, "train.batch_size": 6})


class EvaluationTest(RunTest):
    def evaluate(self, ranks, name, checkpoint):
        result = self.mpirun(ranks, name + ".ini", "--evaluate", checkpoint)
        lines = [line for line in result.lines if line.startswith("evaluate ")]
        self.assertEqual(len(lines), 1, str(result))
        return dict(word.split("=") for word in lines[0].split()[1:])

    def test_every_image_counts_once_on_any_number_of_ranks(self):
        # 23 images, at most 3 a pass and rank: shares and passes are uneven.
        settings = {"data.val_samples": 23, "train.batch_size": 8, "eval.train_samples": 37}
        self.train("run", 3, settings)
        row = self.rows("run", "epochs.csv")[-1]
        for column, images in (("val_accuracy", 23), ("val_top5_accuracy", 23), ("train_eval_accuracy", 37)):
            count = float(row[column]) * images
            self.assertTrue(abs(count - round(count)) < 1e-5, (column, row[column]))
        for ranks in (1, 3, 4):
            scores = self.evaluate(ranks, "run", self.latest("run"))
            self.assertEqual(scores["images"], "23")
            # As the run itself saw it. Printed with 6 digits; the sum over images has another order.
            self.assertAlmostEqual(float(scores["top1"]), float(row["val_accuracy"]), delta=1e-6)
            self.assertAlmostEqual(float(scores["top5"]), float(row["val_top5_accuracy"]), delta=1e-6)
            self.assert_close([float(scores["loss"])], [float(row["val_loss"])], 2e-5)

    def test_fewer_validation_images_than_ranks(self):
        self.train("few", 4, {"data.val_samples": 2, "train.max_steps": 5, "train.epochs": 1})
        self.assertIn(self.rows("few", "epochs.csv")[0]["val_accuracy"], ("0", "0.5", "1"))
        self.assertEqual(self.evaluate(3, "few", self.latest("few"))["images"], "2")

    def test_held_out_images_are_scored_and_not_trained_on(self):
        harness.write_cifar10(self.path("cifar"))
        settings = {"data.dataset": "cifar10", "data.path": "cifar", "data.validation": 13, "data.train_samples": 0,
                    "data.val_samples": 0, "train.epochs": 1, "data.last_batch": "keep"}
        self.train("split", 2, settings)
        self.assertEqual(self.summary("split")["images"], 60 - 13)
        self.assertEqual(self.evaluate(2, "split", self.latest("split"))["images"], "13")
        self.train("test", 2, {**settings, "data.validation": "test"})
        self.assertEqual(self.summary("test")["images"], 60)
        self.assertEqual(self.evaluate(2, "test", self.latest("test"))["images"], "12")

    def test_evaluation_does_not_change_training(self):
        self.train("often", 2, {"eval.every_epochs": 1, "eval.train_samples": 16})
        self.train("never", 2, {"eval.every_epochs": 0})
        self.assert_same_state(self.latest("often"), self.latest("never"))
        for row in self.rows("never", "epochs.csv"):
            for column in ("val_loss", "val_accuracy", "val_top5_accuracy", "train_eval_accuracy", "gap"):
                self.assertEqual(row[column], "")
        row = self.rows("often", "epochs.csv")[-1]
        self.assertTrue(math.isclose(float(row["gap"]), float(row["train_eval_accuracy"]) - float(row["val_accuracy"]),
                                     abs_tol=1e-8))


if __name__ == "__main__":
    harness.main()
