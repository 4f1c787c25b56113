# SPDX-License-Identifier: Apache-2.0
"""Compares the ONNX files of `sdtrain export --onnx` with our own evaluation, sample by sample.

    check_onnx.py BUILD [CASE ...]

BUILD is the folder of a build. For each case it trains a network a few steps (so that running statistics, and branches whose
last norm starts at 0, are not trivial), exports it, and checks:
  - onnx.checker with full_check (operators, attributes, types and shapes), and that protobuf's own encoder writes the same bytes;
  - that every tensor of the checkpoint's state_dict is an initializer with the same bits, matrices transposed as NAME.T, and
    that the metadata of images have its mean and std;
  - logits of ONNX Runtime, at each level of graph optimisation, against ours (logits.c): max |difference| <= 1e-4 max |logit|, for
    1 and 5 samples; texts with padding and pairs;
  - that dropping the factor 1 - p (scale = inference) or adding one (training) would be seen, at 10 times the tolerance.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

TOLERANCE = 1e-4  # of max |logit|; float32 sums of another order
BATCHES = (1, 5)
LEVELS = {
    "plain": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "optimised": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

COMMON = {"run.seed": 3, "data.train_samples": 40, "data.val_samples": 8, "train.batch_size": 8, "train.epochs": 2,
          "stochastic_depth.rate": 0.5, "lr.base": 0.05}  # fmt: skip
SMALL = {**COMMON, "train.epochs": 1, "train.max_steps": 3}
VIT = {**SMALL, "model.name": "vit_tiny", "lr.base": 0.001, "optimizer.name": "adamw"}
# The folder of a run has the tables of write_texts().
BERT = {**COMMON, "run.seed": 5, "model.name": "bert_L3_H64_A4", "data.dataset": "text", "data.path": "texts", "data.vocab": "vocab.txt",
        "data.sequence": 12, "lr.base": 0.001, "optimizer.name": "adamw", "model.hidden_dropout": 0.1,
        "stochastic_depth.scale": "none", "stochastic_depth.schedule": "constant", "stochastic_depth.unit": "block"}  # fmt: skip
TRAINING = {"stochastic_depth.scale": "training"}
CASES = {
    "resnet20": {**COMMON, "model.name": "resnet20"},
    "resnet20-training": {**COMMON, "model.name": "resnet20", **TRAINING},
    "resnet20-odd-pixels": {**COMMON, "model.name": "resnet20", "data.image_size": 27},
    "resnet20-list": {**COMMON, "model.name": "resnet20", "stochastic_depth.rate": 0.0, "stochastic_depth.schedule": "list",
                      "stochastic_depth.rates": "0, 1, 0.3, 0, 0.7, 0.2, 0.9, 0.5, 0.1"},
    "resnet18-cifar-stem": {**SMALL, "model.name": "resnet18", "model.zero_init_residual": "true"},
    "resnet18": {**SMALL, "model.name": "resnet18", "model.stem": "imagenet", "data.image_size": 97, "model.classes": 17},
    "resnet18-training": {**SMALL, "model.name": "resnet18", "model.stem": "imagenet", "data.image_size": 96, **TRAINING},
    "resnet50": {**SMALL, "model.name": "resnet50", "model.stem": "imagenet", "data.image_size": 96},
    "resnet50-training": {**SMALL, "model.name": "resnet50", "model.stem": "imagenet", "data.image_size": 65, **TRAINING},
    "vit_tiny": {**VIT, "data.image_size": 32, "model.patch_size": 4, "model.dropout": 0.2},
    "vit_tiny-training": {**VIT, "data.image_size": 48, "model.patch_size": 16, **TRAINING},
    "vit_tiny-layers": {**VIT, "data.image_size": 32, "model.patch_size": 8, "model.layers": "3"},
    "resnet20-layers": {**COMMON, "model.name": "resnet20", "model.layers": "0, 2, 1"},
    "bert": BERT,
    "bert-padding": {**BERT, "data.sequence": 40, "stochastic_depth.unit": "branch"},
    "vit_tiny-block": {**VIT, "data.image_size": 32, "model.patch_size": 8, "stochastic_depth.unit": "block"},
}  # fmt: skip


def write_texts(folder: Path) -> None:
    """A vocabulary of 25, and texts of 2 to 14 words in two classes."""
    words = [f"w{i}" for i in range(20)]
    rng = np.random.default_rng(0)
    (folder / "texts").mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    for name in ("train.tsv", "dev.tsv"):
        lines = [f"{' '.join(rng.choice(words, rng.integers(2, 15)))}\t{i % 2}\n" for i in range(40)]
        (folder / "texts" / name).write_text("sentence\tlabel\n" + "".join(lines))


def train(build: Path, folder: Path, name: str, settings: dict) -> Path:
    """A run of one rank; its last checkpoint."""
    sections: dict[str, list[str]] = {}
    for key, value in {"run.output": folder, **settings}.items():
        section, plain = key.split(".")
        sections.setdefault(section, []).append(f"{plain} = {value}\n")
    config = folder / f"{name}.ini"
    config.write_text("".join(f"[{section}]\n{''.join(lines)}" for section, lines in sections.items()))
    write_texts(folder)
    subprocess.run([build.resolve() / "src/sdtrain-mpi", config], check=True, capture_output=True, cwd=folder)
    return (folder / name / "checkpoints/latest").resolve()


def our_logits(build: Path, checkpoint: Path, samples: np.ndarray) -> np.ndarray:
    """samples: images [N, H, W, 3], or texts [N, sequence + 2] (logits.c)."""
    done = subprocess.run([build / "tests/logits", checkpoint], input=samples.tobytes(), check=True, capture_output=True)
    return np.frombuffer(done.stdout, dtype="<f4").reshape(len(samples), -1)


def draw_samples(model: onnx.ModelProto, n: int, settings: dict) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Samples for our_logits(), and the same as inputs of the model: images, or texts of all lengths, of which some are pairs."""
    rng = np.random.default_rng(n)
    if model.graph.input[0].name == "input":
        shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
        images = rng.standard_normal((n, *shape[2:], shape[1])).astype(np.float32)
        return images, {"input": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
    sequence = settings["data.sequence"]
    lengths = rng.integers(2, sequence + 1, (n, 1))
    second = np.where(rng.random((n, 1)) < 0.5, rng.integers(1, lengths), lengths)
    place = np.arange(sequence)
    ids = np.where(place < lengths, rng.integers(5, 25, (n, sequence)), 0)
    inputs = {"input_ids": ids, "attention_mask": place < lengths, "token_type_ids": (place >= second) & (place < lengths)}
    return np.hstack([ids, lengths, second]).astype("<i4"), {name: value.astype(np.int64) for name, value in inputs.items()}


def check_content(model: onnx.ModelProto, checkpoint: Path) -> int:
    """The number of tensors, which all have the checkpoint's bits, as do mean and std in the metadata."""
    metadata = {m.key: m.value for m in model.metadata_props}
    initializers = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    with h5py.File(checkpoint, "r") as file:
        state = {name: np.asarray(data[()]) for name, data in file["model"].items()
                 if not name.endswith("num_batches_tracked")}  # fmt: skip
        for key in {"mean", "std"} & metadata.keys():
            if not np.array_equal(np.float32(metadata[key].split(",")), file[f"data/{key}"][()]):
                raise SystemExit(f"check_onnx: {key} is {metadata[key]}, and {file[f'data/{key}'][()]} in the checkpoint")
    for name, value in state.items():
        found = initializers[name] if name in initializers else initializers[f"{name}.T"].T
        if found.shape != value.shape or found.tobytes() != value.astype("<f4").tobytes():
            raise SystemExit(f"check_onnx: {name} differs from the checkpoint's")
    return len(state)


def relative_error(logits: np.ndarray, reference: np.ndarray) -> float:
    if logits.shape != reference.shape or not np.isfinite(logits).all():
        raise SystemExit(f"check_onnx: logits {logits.shape} are not those expected, {reference.shape}, or not finite")
    return float(np.abs(logits.astype(float) - reference).max() / np.abs(reference).max())


def without_scale(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with all factors of branches 1; with a factor of 0.5 on its first branch if it has none."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    factors = [i for i in other.graph.initializer if i.name.startswith("scale_")]
    for factor in factors:
        factor.raw_data = np.float32(1).tobytes()
    if not factors:
        add = next(n for n in other.graph.node if n.op_type == "Add" and n.name.startswith("add_"))
        at = list(other.graph.node).index(add)
        other.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
        other.graph.node.insert(at, onnx.helper.make_node("Mul", [add.input[1], "half"], ["halved"]))
        other.graph.node[at + 1].input[1] = "halved"
    return other


def run_onnx(model: bytes, inputs: dict[str, np.ndarray], level: ort.GraphOptimizationLevel) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], inputs)[0]


def check(build: Path, checkpoint: Path, out: Path, settings: dict) -> str:
    subprocess.run([build / "src/sdtrain", "export", checkpoint, "--onnx", out], check=True, stdout=subprocess.DEVNULL)
    content = out.read_bytes()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    if model.SerializeToString(deterministic=True) != content:
        raise SystemExit("check_onnx: protobuf encodes the model in other bytes")
    tensors = check_content(model, checkpoint)
    worst, seen = 0.0, 0.0
    for n in BATCHES:
        samples, inputs = draw_samples(model, n, settings)
        ours = our_logits(build, checkpoint, samples)
        for level in LEVELS.values():
            worst = max(worst, relative_error(run_onnx(content, inputs, level), ours))
        changed = run_onnx(without_scale(model).SerializeToString(), inputs, LEVELS["plain"])
        seen = max(seen, relative_error(changed, ours))
    text = f"{len(model.graph.node)} nodes, {tensors} tensors, error {worst:.1e}, without its scale {seen:.1e}"
    if not worst <= TOLERANCE:
        raise SystemExit(f"check_onnx: {out.stem}: {text}: more than {TOLERANCE:g}")
    if not seen >= 10 * TOLERANCE:
        raise SystemExit(f"check_onnx: {out.stem}: {text}: the scale makes no difference, so this checks nothing")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, metavar="BUILD")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    arguments = parser.parse_args()
    for name in arguments.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = train(arguments.build, Path(folder), name, CASES[name])
            print(f"{name}: {check(arguments.build, checkpoint, Path(folder) / f'{name}.onnx', CASES[name])}", flush=True)


if __name__ == "__main__":
    main()
