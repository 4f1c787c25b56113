# SPDX-License-Identifier: Apache-2.0
"""communication.reduction = reproducible: the same bits on 1, 2, 4 and 8 ranks, and after a change between them."""
import os

import harness
from harness import BAD_CONFIG, RunTest, TINY_VIT, without_times

REPRODUCIBLE = {"communication.reduction": "reproducible", "communication.shards": 8, "train.batch_size": 20,
                "data.train_samples": 90, "data.last_batch": "keep"}  # shards of 2 and 3 images; a last batch of 10


class ReproducibleTest(RunTest):
    def assert_same_results(self, name, other):
        """As assert_same_run(), but runs on another number of ranks count other bytes."""
        a, b = self.latest(name), self.latest(other)
        self.assertEqual(os.path.basename(a), os.path.basename(b))
        self.assert_same_state(a, b)
        bytes_counted = ("bytes_reduced", "bytes_full")
        progress = [without_times([self.progress(checkpoint)], "/progress")[0] for checkpoint in (a, b)]
        for p in progress:
            for counted in bytes_counted:
                del p[counted]
        self.assertGreater(len(progress[0]), 15)
        self.assertEqual(*progress)
        for file in ("steps.csv", "epochs.csv", "decisions.csv"):
            rows = [[{k: v for k, v in row.items() if k not in bytes_counted}
                     for row in without_times(self.rows(run, file), file)] for run in (name, other)]
            self.assertEqual(*rows, file)

    def same_on_all(self, settings, base=None, ranks=(1, 2, 4, 8), **env):
        for n in ranks:
            self.train("ranks%d" % n, n, {**REPRODUCIBLE, **settings}, base, **env)
        for n in ranks[1:]:
            self.assert_same_results("ranks%d" % ranks[0], "ranks%d" % n)

    def test_resnet_with_augmentation_nesterov_and_uneven_shards(self):
        self.same_on_all({"data.augment": "crop_flip", "optimizer.nesterov": "true", "eval.train_samples": 50,
                          "train.label_smoothing": 0.1, "data.val_samples": 37})
        self.assertEqual(len(self.column("ranks1", "epochs.csv", "val_loss", float)), 2)

    def test_bottlenecks_with_adamw_clipping_small_buckets_and_polling(self):
        self.same_on_all({"model.name": "resnet50", "data.image_size": 16, "optimizer.name": "adamw",
                          "lr.base": 0.001, "optimizer.clip_norm": 1, "communication.bucket_bytes": 65536,
                          "communication.progress": "poll", "train.max_steps": 3}, ranks=(1, 4))

    def test_vit_with_dropout_and_zeros_sent_for_dropped_branches(self):
        self.same_on_all({"model.dropout": 0.2, "communication.skip_dropped": "false"}, TINY_VIT)

    def test_threads_buckets_and_the_way_of_progress_change_no_bit(self):
        self.train("a", 2, REPRODUCIBLE)
        self.train("b", 2, {**REPRODUCIBLE, "communication.bucket_bytes": 8192, "run.threads": 2,
                            "communication.progress": "poll"})
        self.assert_same_run("a", "b")

    def test_resumed_on_other_numbers_of_ranks_ends_in_the_same_bits(self):
        self.train("whole", 2, REPRODUCIBLE)
        for ranks, stop in ((8, 2), (1, 5), (4, 7), (2, 0)):
            result = self.train("parts", ranks, {**REPRODUCIBLE, "train.max_steps": stop})
            self.assertEqual(result.warnings, [], result)
        self.assert_same_results("whole", "parts")

    def test_what_cannot_be_shared_is_refused(self):
        for ranks, settings, words in (
                (3, {}, ("communication.shards", "3 ranks", "8 shards")),
                (4, {"communication.shards": 2}, ("communication.shards", "4 ranks", "2 shards")),
                (2, {"communication.shards": 6}, ("communication.shards", "power of two")),
                (1, {"train.batch_size": 4}, ("train.batch_size", "4 images", "8 shards"))):
            result = self.train("refused", ranks, {**REPRODUCIBLE, **settings}, code=BAD_CONFIG)
            self.assert_error(result, *words)

    def test_another_number_of_shards_is_another_run(self):
        self.train("run", 1, {**REPRODUCIBLE, "train.max_steps": 1})
        result = self.train("run", 1, {**REPRODUCIBLE, "communication.shards": 4}, code=BAD_CONFIG)
        self.assert_error(result, "communication.shards = 4, not 8")


if __name__ == "__main__":
    harness.main()
