# SPDX-License-Identifier: Apache-2.0
"""--check --ranks: a prediction of step times on more ranks than there are."""
import os
import re

import harness
from harness import USAGE, RunTest

# A row of a possible step; times in ms. Reading is by columns: ranks, images, reduced, then six a kind of step.
ROW = re.compile(r" *(\d+) +(\d+) +(none|ring|halving|doubling) +(.*)$")
COLUMNS = "compute comm exposed step speed efficiency".split()


def numbers(text):
    return [float(word) for word in re.findall(r"\d+\.\d+", text)]


class Row:
    def __init__(self, match):
        self.ranks, self.images, self.reduced = int(match.group(1)), int(match.group(2)), match.group(3)
        values = numbers(match.group(4))
        self.full = dict(zip(COLUMNS, values))
        self.dropped = dict(zip(COLUMNS, values[6:]))
        self.saved = values[12] if len(values) > 12 else None
        self.notes = match.group(4)


def tables(out):
    """[{ranks: Row or the text of an impossible one}] of the shared batch and of growing ones."""
    found = []
    for line in out[out.index("\nprediction"):].splitlines():
        if re.match(r"\d+ images a (step|rank)", line):
            found.append({})
        elif found and (match := ROW.match(line)):
            found[-1][int(match.group(1))] = Row(match)
        elif found and (match := re.match(r" *(\d+) +(not possible.*)", line)):
            found[-1][int(match.group(1))] = match.group(2)
    return found


class PredictionTest(RunTest):
    def setUp(self):
        super().setUp()
        self.write_config("run")

    def predict(self, ranks, *words, on=1):
        result = self.mpirun(on, "run.ini", "--check", "--ranks", ranks, *words)
        return result.out, tables(result.out)

    def test_rows_for_all_ranks_asked_about(self):
        out, (strong, weak) = self.predict("1,2,3,8,9,4096", on=2)
        self.assertEqual(list(strong), [1, 2, 3, 8, 9, 4096])
        self.assertEqual(list(weak), [1, 2, 3, 8, 9, 4096])
        self.assertEqual([strong[ranks].images for ranks in (1, 2, 3, 8)], [8, 4, 3, 1])
        for ranks in (9, 4096):
            self.assertIn("not possible", strong[ranks])
        self.assertEqual({row.images for row in weak.values()}, {4})
        self.assertIn("2 ranks at once", out)
        self.assertIn("10 Gbit/s", out)
        self.assertIn("latency 30 us", out)
        self.assertFalse(os.path.exists(self.path("runs")), "a prediction writes files")

    def test_figures_agree_with_each_other(self):
        _, (strong, weak) = self.predict("1,2,4,1024,4096", "--link-gbit", "0.1", "--latency-us", "100")
        rows = [row for table in (strong, weak) for row in table.values() if isinstance(row, Row)]
        self.assertEqual(len(rows), 8)
        for row in rows:
            for s in (row.full, row.dropped):
                self.assertAlmostEqual(s["step"], s["compute"] + s["exposed"], delta=0.02)
                self.assertLessEqual(s["exposed"], s["comm"] + 0.01)
                self.assertLessEqual(s["efficiency"], 100.1)
                self.assertEqual(row.ranks == 1, s["comm"] == 0)
            self.assertAlmostEqual(row.saved, 100 * (1 - row.dropped["step"] / row.full["step"]), delta=2)
            self.assertLess(row.dropped["compute"], row.full["compute"])
        # 1 MB of gradients at 11.8 MB/s, twice over, and the latencies of a step.
        self.assertAlmostEqual(weak[4096].full["comm"], 1e3 * 2 * 4 * 269722 / 11.77e6 + 3.6, delta=20)
        for table in (strong, weak):
            self.assertEqual((table[1].reduced, table[1].full["efficiency"]), ("none", 100.0))
        self.assertGreater(weak[4].full["comm"], weak[2].full["comm"])

    def test_what_lies_beyond_this_machine_is_called_extrapolation(self):
        cores = os.cpu_count()
        _, (_, weak) = self.predict("1,%d,%d,4096" % (cores, cores + 1))
        for ranks, row in weak.items():
            self.assertEqual("extrapolation" in row.notes, ranks > cores, row.notes)
        self.assertIn("more than the training images", weak[4096].notes)  # 8 a rank, and there are 40

    def test_without_dropping_there_is_one_kind_of_step(self):
        out, (_, weak) = self.predict("2", "--set", "stochastic_depth.rate=0")
        self.assertEqual(len(numbers(weak[2].notes)), 6)
        self.assertNotIn("saved", out[out.index("\nprediction"):])

    def test_a_link_changes_communication(self):
        slow = self.predict("64", "--link-gbit", "0.01")[1][1][64].full["comm"]
        fast = self.predict("64", "--link-gbit", "100", "--latency-us", "1")[1][1][64].full["comm"]
        self.assertGreater(slow, 1000)
        self.assertLess(fast, 100)

    def test_bf16_on_the_wire_halves_the_bytes(self):
        words = ("64", "--link-gbit", "0.01", "--latency-us", "1", "--set")
        floats, (_, weak) = self.predict(*words, "communication.wire=fp32")
        halves, (_, weak_halves) = self.predict(*words, "communication.wire=bf16")
        # 269722 learned values by halving and doubling; 1376 statistics are floats with either.
        ratio = (2 * 269722 + 4 * 1376) / (4 * (269722 + 1376))
        for kind in ("full", "dropped"):
            times = [getattr(table[64], kind)["comm"] for table in (weak, weak_halves)]
            self.assertAlmostEqual(times[1] / times[0], ratio, delta=0.03, msg=kind)
        self.assertIn("wire       bf16", halves)
        self.assertNotIn("bf16", floats)

    def test_a_transformer_and_the_smallest_batch(self):
        """One image a rank, at which there is one size to measure."""
        self.write_config("run", {"train.batch_size": 2}, harness.TINY_VIT)
        _, (strong, weak) = self.predict("1,2,4096", on=2)
        self.assertEqual((strong[2].images, weak[4096].images), (1, 1))
        self.assertGreater(weak[4096].full["compute"], 0)

    def test_wrong_values(self):
        for words in (("--ranks", "0"), ("--ranks", "4097"), ("--ranks", "-1"), ("--ranks", ""), ("--ranks", "2,"),
                      ("--ranks", "2,,4"), ("--ranks", "2;4"), ("--ranks", "two"), ("--ranks", "1.5"),
                      ("--ranks", " 2"), ("--ranks", "99999999999999999999"), ("--ranks", ",".join(["1"] * 65)),
                      ("--ranks",), ("--ranks", "2", "--link-gbit", "0"), ("--ranks", "2", "--link-gbit", "nan"),
                      ("--ranks", "2", "--link-gbit", "1e9"), ("--ranks", "2", "--link-gbit", "10g"),
                      ("--ranks", "2", "--latency-us", "-1"), ("--ranks", "2", "--latency-us", "inf"),
                      ("--link-gbit", "10"), ("--latency-us", "30")):
            with self.subTest(words=words):
                result = self.mpirun(1, "run.ini", "--check", *words, code=USAGE)
                self.assertIn(words[-2] if len(words) % 2 == 0 else words[0], result.errors[0])

    def test_only_with_check(self):
        for words in (("--ranks", "2"), ("--ranks", "2", "--evaluate", "file")):
            self.assertIn("--check", self.mpirun(1, "run.ini", *words, code=USAGE).errors[0])

    def test_ranks_that_are_asked_differently_disagree(self):
        result = self.mpirun_two(["run.ini", "--check", "--ranks", "2"], ["run.ini", "--check", "--ranks", "4"],
                                 (harness.INTERNAL,))
        self.assertIn("command line", result.errors[0])

    def test_the_watchdog_sees_a_calibration_that_takes_longer_than_it_waits(self):
        # Passes of half a second or so, and more than eight seconds of them.
        larger = {"data.train_samples": 1000, "train.batch_size": 256, "stochastic_depth.rate": 0, "run.stall_seconds": 4}
        self.write_config("run", larger)
        self.assertEqual(len(self.predict("2")[1]), 2)

    def test_the_longest_list(self):
        ranks = ",".join(str(64 * i) for i in range(1, 65))
        _, (_, weak) = self.predict(ranks)
        self.assertEqual(len(weak), 64)


if __name__ == "__main__":
    harness.main()
