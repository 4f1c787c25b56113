# SPDX-License-Identifier: Apache-2.0
"""Each model trains: two steps on a few images."""
import harness
from harness import RunTest

# Patches of 8 x 8 of 32 x 32 pixels, class and positions, twelve blocks (norm, QKV, projection; norm, MLP), norm, head.
VIT_TINY = (192 * (3 * 64) + 192 + 192 + 17 * 192
            + 12 * (384 + 192 * 576 + 576 + 192 * 192 + 192 + 384 + 2 * 192 * 768 + 768 + 192)
            + 384 + 192 * 10 + 10)

# Parameters as torchvision counts them with 10 classes; resnet20 to 110 with parameter-free shortcuts.
MODELS = {
    "resnet20": ({}, 269722, 9),
    "resnet32": ({}, 464154, 15),
    "resnet110": ({}, 1727962, 54),
    "resnet18 with cifar stem": ({"model.name": "resnet18", "model.stem": "cifar"}, 11173962, 8),
    "resnet18 with imagenet stem": ({"model.name": "resnet18", "model.stem": "imagenet", "data.image_size": 64},
                                    11181642, 8),
    "resnet50 with cifar stem": ({"model.name": "resnet50", "data.image_size": 8}, 23520842, 16),
    "resnet50 with imagenet stem": ({"model.name": "resnet50", "model.stem": "imagenet", "data.image_size": 64},
                                    23528522, 16),
    "vit_tiny": ({"model.patch_size": 8}, VIT_TINY, 24),
    "vit_tiny by blocks": ({"model.patch_size": 8, "stochastic_depth.unit": "block"}, VIT_TINY, 12),
}


class ModelsTest(RunTest):
    def check(self, case):
        settings, parameters, units = MODELS[case]
        self.train("run", 2, {"model.name": case.split()[0], "train.batch_size": 4, "data.train_samples": 8,
                              "data.val_samples": 4, "train.epochs": 1, "lr.base": 0.001, "checkpoint.every_epochs": 0,
                              **settings})
        self.assertEqual(self.summary("run")["step"], 2)
        self.assertEqual(self.summary("run")["parameters"], parameters)
        self.assertEqual(len(self.rows("run", "schedule.csv")), units)
        self.assertEqual({len(kept) for kept in self.column("run", "decisions.csv", "kept")}, {units})
        # Untrained: about the loss of guessing among ten classes, ln 10 = 2.3.
        for loss in self.column("run", "steps.csv", "loss", float):
            self.assertTrue(1 < loss < 6, loss)


def add(case):
    def test(self):
        self.check(case)
    setattr(ModelsTest, "test_" + case.replace(" ", "_"), test)


for each in MODELS:
    add(each)


if __name__ == "__main__":
    harness.main()
