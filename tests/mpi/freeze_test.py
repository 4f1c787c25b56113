# SPDX-License-Identifier: Apache-2.0
"""model.freeze: frozen parameters keep their bits, are not sent, and cost no backward pass below the lowest trained one."""
import harness
from harness import BAD_CONFIG, RunTest, TINY_VIT

HEAD = {"model.freeze": "*,!fc.*"}
RESNET20 = 432 + 32 + 650 + 3 * (2 * 16 * 16 * 9 + 64) + (16 * 32 * 9 + 32 * 32 * 9 + 128) + \
    2 * (2 * 32 * 32 * 9 + 128) + (32 * 64 * 9 + 64 * 64 * 9 + 256) + 2 * (2 * 64 * 64 * 9 + 256)
SAVED = {"checkpoint.every_steps": 1, "checkpoint.keep": 20}


class FreezeTest(RunTest):
    def equal(self, checkpoint, other, tensor):
        return self.equal_state(checkpoint, other, "/model/" + tensor)

    def initial(self, settings=None, base=None):
        """The weights of step 0: a step with learning rate 0 leaves them."""
        self.train("initial", 1, {**(settings or {}), "lr.base": 0, "train.max_steps": 1}, base)
        return self.latest("initial")

    def check_bytes(self, name, expected):
        steps = self.column(name, "steps.csv", "bytes_reduced", int)
        self.assertEqual(steps, [expected] * len(steps))
        full = 4 * self.summary(name)["parameters"]
        self.assertEqual(set(self.column(name, "steps.csv", "bytes_full", int)), {full})

    def test_the_head_alone_is_sent_and_moves(self):
        self.train("run", 2, HEAD)
        self.check_bytes("run", 4 * 650)
        self.assertEqual(self.summary("run")["parameters"], RESNET20)
        initial, last = self.initial(), self.latest("run")
        frozen = ["conv1.weight", "bn1.bias", "layer2.0.conv1.weight", "layer3.2.bn2.weight"]
        for tensor in frozen:
            self.assertTrue(self.equal(initial, last, tensor), tensor)
        for tensor in ("fc.weight", "fc.bias"):
            self.assertFalse(self.equal(initial, last, tensor), tensor)
        # Batch norms are in eval mode: their statistics are those of the start.
        for block in ("bn1", "layer1.0.bn1", "layer3.2.bn2"):
            self.assertEqual(set(self.values(last, "/model/%s.running_mean" % block)), {0})
            self.assertEqual(set(self.values(last, "/model/%s.running_var" % block)), {1})
            self.assertEqual(self.values(last, "/model/%s.num_batches_tracked" % block), [0])
            self.assertEqual(set(self.values(last, "/optimizer/momentum/%s.weight" % block)), {0})

    def test_a_segment_of_a_vit_is_sent_whole(self):
        self.train("run", 2, {"model.freeze": "*,!head.*", "train.max_steps": 3}, TINY_VIT)
        self.check_bytes("run", 4 * (2 * 192 + 1920 + 10))
        initial, last = self.initial(base=TINY_VIT), self.latest("run")
        for tensor in ("norm.weight", "norm.bias", "pos_embed", "blocks.11.mlp.fc2.weight"):
            self.assertTrue(self.equal(initial, last, tensor), tensor)
        self.assertFalse(self.equal(initial, last, "head.weight"))

    def test_bf16_sends_half_the_bytes(self):
        self.train("run", 2, {**HEAD, "communication.wire": "bf16"})
        self.check_bytes("run", 2 * 650)

    def test_a_frozen_middle_is_passed_through(self):
        # Above and below are trained; bytes are those of neither dropped nor frozen units.
        self.train("run", 2, {"model.freeze": "layer2.*"})
        parameters = self.column("run", "schedule.csv", "parameters", int)
        expected = [4 * (RESNET20 - sum(n for unit, (n, bit) in enumerate(zip(parameters, row["kept"]))
                                        if bit == "0" or unit in (3, 4, 5)))
                    for row in self.rows("run", "decisions.csv")]
        self.assertEqual(self.column("run", "steps.csv", "bytes_reduced", int), expected)
        initial, last = self.initial(), self.latest("run")
        self.assertTrue(self.equal(initial, last, "layer2.1.conv1.weight"))
        for tensor in ("conv1.weight", "layer1.0.conv1.weight", "layer3.0.conv2.weight"):
            self.assertFalse(self.equal(initial, last, tensor), tensor)

    def test_skipping_and_buckets_change_no_bit(self):
        settings = {"model.freeze": "conv1.*,bn1.*,layer1.*,layer3.1.*", "optimizer.clip_norm": 1}
        self.train("plain", 2, settings)
        self.train("send", 2, {**settings, "communication.skip_dropped": "false"})
        self.train("small", 2, {**settings, "communication.bucket_bytes": 4096})
        for name in ("send", "small"):
            self.assert_same_state(self.latest("plain"), self.latest(name))

    def test_reproducible_on_any_number_of_ranks(self):
        settings = {"model.freeze": "conv1.*,bn1.*,layer1.*,layer3.1.*", "communication.reduction": "reproducible",
                    "communication.shards": 4, "stochastic_depth.scope": "sample"}
        for ranks in (1, 2, 4):
            self.train(str(ranks), ranks, settings)
        self.assert_same_state(self.latest("1"), self.latest("2"))
        self.assert_same_state(self.latest("1"), self.latest("4"))

    def test_a_resumed_run_is_the_unbroken_one(self):
        frozen = {"model.freeze": "conv1.*,bn1.*,layer1.*,layer3.1.*,*.bn2.bias", "optimizer.layer_decay": 0.8}
        for name, settings in (("plain", {}), ("rank", {"stochastic_depth.scope": "rank"}),
                               ("sample", {"stochastic_depth.scope": "sample", "communication.wire": "bf16"}),
                               ("freeze", {"stochastic_depth.dropped_update": "freeze", "optimizer.name": "adamw",
                                           "train.on_nonfinite": "skip", "communication.wire": "bf16"})):
            settings = {**frozen, **settings}
            self.train(name, 2, settings)
            self.train(name + "_broken", 2, {**settings, "train.max_steps": 4})
            self.train(name + "_broken", 2, settings)
            self.assert_same_run(name, name + "_broken")

    def test_a_resume_with_other_patterns_is_refused(self):
        self.train("run", 2, {**HEAD, "train.max_steps": 2})
        result = self.train("run", 2, code=BAD_CONFIG)
        self.assert_error(result, "model.freeze")

    def test_the_backward_pass_is_shorter(self):
        # Of a bare head next to nothing is left: a hundredth. Half allows for any load of the machine.
        settings = {"train.max_steps": 5, "data.image_size": 32, "stochastic_depth.rate": 0}
        self.train("all", 1, settings)
        self.train("head", 1, {**settings, **HEAD})
        seconds = [sum(self.column(name, "timing.csv", "backward", float)) for name in ("all", "head")]
        self.assertLess(seconds[1], seconds[0] / 2)

    def test_check_says_what_is_trained(self):
        result = self.mpirun(2, self.write_config("run", HEAD), "--check")
        self.assertIn("trained    650 of the %d parameters" % RESNET20, result.out)
        self.assertIn("(2600 of %d bytes a rank)" % (4 * RESNET20), result.out)
        result = self.mpirun(2, self.write_config("send", {**HEAD, "communication.skip_dropped": "false"}), "--check")
        self.assertIn("(2600 of %d bytes a rank)" % (4 * RESNET20), result.out)
        result = self.mpirun(2, self.write_config("none"), "--check")
        self.assertNotIn("trained  ", result.out)

    def test_patterns_that_cannot_be_meant_are_refused(self):
        for pattern, words in (("fc.*,layer9.*", ("'layer9.*' matches the name of no parameter", "run.ini")),
                               ("*", ("freezes all", "nothing is left to train"))):
            self.assert_error(self.train("run", 2, {"model.freeze": pattern}, code=BAD_CONFIG), "model.freeze", *words)


if __name__ == "__main__":
    harness.main()
