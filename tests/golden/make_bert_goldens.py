# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files of BERT: Hugging Face's BertForSequenceClassification and BertForMaskedLM, with layers that can
really be dropped.

Inputs and format are those of make_goldens.py; README.md describes what differs. Texts are padded to one length, most are
shorter, and half of them are pairs.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from make_goldens import (
    SEED, SKETCH_BUCKETS, STEPS, Arrays, check_generators, count_sketch, fnv1a, initial_state, l2_norm, philox, relative_error,
    to_numpy, write,
)  # fmt: skip
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

BATCH, SEQUENCE, VOCABULARY, CLASSES, LAYERS, WIDTH = 6, 24, 200, 3, 2, 128
SMOOTHING, LEARNING_RATE = 0.1, 1e-3
PLANS = ((1, 1), (0, 1), (0, 0), (1, 0))  # of the first steps, one unit a layer: nothing, a layer, all, a layer dropped
COMPARED = 3  # of these steps all gradients are stored
MASKS = ("101101", "000100", "111111", "000000")  # samples that keep the attention and the feed-forward part of each layer


class DropLayer(BertLayer):
    """A layer whose two parts, with their norms, are computed for some samples; the others pass by (LayerDrop)."""

    masks: tuple[Tensor, Tensor]  # [batch] bool: attention, feed-forward

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *arguments, **options) -> Tensor:
        parts = (
            lambda x, mask: self.attention(x, mask)[0],
            lambda x, mask: self.feed_forward_chunk(x),
        )
        x = hidden_states
        for part, kept in zip(parts, self.masks, strict=True):
            if kept.any():
                places = kept.nonzero().squeeze(1)
                mask = None if attention_mask is None else attention_mask[places]
                x = x.index_copy(0, places, part(x[places], mask))
        return x


def build(kind: type[PreTrainedModel] = BertForSequenceClassification) -> PreTrainedModel:
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=WIDTH // 64,
        intermediate_size=4 * WIDTH, num_labels=CLASSES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )  # fmt: skip
    model = kind(config)
    for layer in model.bert.encoder.layer:
        layer.__class__ = DropLayer
    return model


# ---- inputs --------------------------------------------------------------------------------------


def drawn(name: str, elements: int, batch: int, bound: np.ndarray | int) -> np.ndarray:
    """word[0] % bound of every element."""
    word = philox((np.arange(elements), batch, 0, 0), (SEED, fnv1a(name)))[0].astype(np.int64)
    return word % bound


def batch_of(batch: int) -> tuple[dict[str, Tensor], Tensor]:
    """What the model takes, and labels. Text 0 fills the sequence, text 1 has two tokens; odd texts are pairs."""
    lengths = 2 + drawn("lengths", BATCH, batch, SEQUENCE - 1)
    lengths[:2] = SEQUENCE, 2
    second = np.where(np.arange(BATCH) % 2, 1 + drawn("second", BATCH, batch, lengths - 1), lengths)
    place = np.arange(SEQUENCE)
    seen = place < lengths[:, None]
    ids = np.where(seen, drawn("tokens", BATCH * SEQUENCE, batch, VOCABULARY).reshape(BATCH, SEQUENCE), 0)
    texts = {
        "input_ids": ids,
        "attention_mask": seen.astype(np.int64),
        "token_type_ids": ((place >= second[:, None]) & seen).astype(np.int64),
    }
    labels = drawn("labels", BATCH, batch, CLASSES)
    return {name: torch.from_numpy(value) for name, value in texts.items()}, torch.from_numpy(labels)


def masked_batch_of(batch: int) -> tuple[dict[str, Tensor], Tensor]:
    """Of each text every eighth token, counted from another place, is to be predicted: its label is drawn; -100 elsewhere."""
    texts, _ = batch_of(batch)
    text, place = np.arange(BATCH)[:, None], np.arange(SEQUENCE)
    masked = ((text + place) % 8 == 0) & (texts["attention_mask"].numpy() == 1)
    labels = drawn("masked", BATCH * SEQUENCE, batch, VOCABULARY).reshape(BATCH, SEQUENCE)
    return texts, torch.from_numpy(np.where(masked, labels, -100))


def draw_plans() -> np.ndarray:
    rest = np.random.default_rng(SEED).random((STEPS - len(PLANS), LAYERS)) >= 0.3
    return np.concatenate([np.array(PLANS), rest]).astype(np.uint8)


# ---- one model in one precision ------------------------------------------------------------------


class Run:
    def __init__(self, dtype: torch.dtype, state: dict[str, Tensor]) -> None:
        self.model, self.state = build().to(dtype), state

    def restart(self, training: bool) -> None:
        missing, unexpected = self.model.load_state_dict(self.state, strict=False)
        assert not unexpected and all(name.startswith("cls.predictions.decoder.") for name in missing)  # tied
        self.model.zero_grad(set_to_none=True)
        self.model.train(training)

    def forward(self, step: int, masks: np.ndarray) -> tuple[Tensor, Tensor]:
        """masks: [layer][part][sample]."""
        for layer, mask in zip(self.model.bert.encoder.layer, masks, strict=True):
            layer.masks = tuple(torch.from_numpy(part.astype(bool)) for part in mask)
        texts, labels = batch_of(step)
        logits = self.model(**texts).logits
        return logits, F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)

    def evaluate(self) -> Arrays:
        self.restart(training=False)
        with torch.no_grad():
            logits, loss = self.forward(0, masks_of((1, 1)))
        return to_numpy({"eval_logits": logits, "eval_loss": loss})

    def step(self, step: int, masks: np.ndarray) -> Arrays:
        self.restart(training=True)
        logits, loss = self.forward(step, masks)
        loss.backward()
        results = {"logits": logits, "loss": loss}
        for name, parameter in self.model.named_parameters():
            results[f"grad/{name}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        return to_numpy(results)

    def curve(self, plans: np.ndarray) -> np.ndarray:
        self.restart(training=True)
        decayed = [p for p in self.model.parameters() if p.ndim >= 2]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
            lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8, foreach=False,
        )  # fmt: skip
        losses = []
        for step, plan in enumerate(plans):
            optimizer.zero_grad(set_to_none=True)
            _, loss = self.forward(step, masks_of(plan))
            loss.backward()
            for parameter in self.model.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
            losses.append(loss.item())
        return np.array(losses)


class MaskedRun(Run):
    """Logits are those of masked tokens; the decoder's matrix is the table of embeddings."""

    def __init__(self, dtype: torch.dtype, state: dict[str, Tensor]) -> None:
        self.model, self.state = build(BertForMaskedLM).to(dtype), state
        decoder, predictions = self.model.cls.predictions.decoder, self.model.cls.predictions
        assert decoder.weight is self.model.bert.embeddings.word_embeddings.weight and decoder.bias is predictions.bias

    def forward(self, step: int, masks: np.ndarray) -> tuple[Tensor, Tensor]:
        for layer, mask in zip(self.model.bert.encoder.layer, masks, strict=True):
            layer.masks = tuple(torch.from_numpy(part.astype(bool)) for part in mask)
        texts, labels = masked_batch_of(step)
        logits = self.model(**texts).logits
        plain = F.cross_entropy(logits.view(-1, VOCABULARY), labels.view(-1))
        assert torch.equal(plain, self.model(**texts, labels=labels).loss)
        return logits[labels != -100], F.cross_entropy(logits[labels != -100], labels[labels != -100], label_smoothing=SMOOTHING)


def masks_of(plan) -> np.ndarray:
    return np.broadcast_to(np.array(plan).reshape(LAYERS, 1, 1), (LAYERS, 2, BATCH))


# ---- output --------------------------------------------------------------------------------------


def write_results(group: h5py.Group, exact: Arrays, approximate: Arrays) -> None:
    """In float32, which holds them to 6e-8; no tolerance is near that."""
    for name, values in exact.items():
        error = relative_error(approximate[name], values)
        if not name.startswith("grad/"):
            write(group, name, values.astype(np.float32), f32_error=error)
            continue
        sketched = values.size > SKETCH_BUCKETS
        stored = count_sketch(name.removeprefix("grad/"), values) if sketched else values
        write(group, name, stored.astype(np.float32), norm=l2_norm(values), f32_error=error,
              sketched=np.uint8(sketched))  # fmt: skip
    print(f"{group.name}: largest f32_error {max(relative_error(approximate[n], v) for n, v in exact.items()):.2g}")


def write_head(file: h5py.File, units: int, classes: int = CLASSES) -> None:
    file.attrs.update(
        seed=np.uint32(SEED), first_batch=np.int64(0), batch=np.int64(BATCH), image_size=np.int64(0),
        sequence=np.int64(SEQUENCE), vocabulary=np.int64(VOCABULARY), classes=np.int64(classes), units=np.int64(units),
        label_smoothing=SMOOTHING, ranks=np.int64(1), torch=np.bytes_(torch.__version__),
        transformers=np.bytes_(transformers.__version__),
    )  # fmt: skip
    write(file, "rates", np.zeros(units))


def write_plans(path: Path, exact: Run, approximate: Run) -> None:
    plans = draw_plans()
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        write_head(file, LAYERS)
        write(file, "plans", plans)
        for step in range(COMPARED):
            group = file.create_group(f"none/step{step}")
            masks = masks_of(plans[step])
            write_results(group, exact.step(step, masks), approximate.step(step, masks))
        group = file["none"]
        write_results(group, exact.evaluate(), approximate.evaluate())
        losses = exact.curve(plans)
        write(group, "curve_adamw", losses, lr=LEARNING_RATE,
              f32_error=np.abs(approximate.curve(plans) - losses) / np.abs(losses))  # fmt: skip


def write_samples(path: Path, exact: Run, approximate: Run) -> None:
    masks = np.array([[int(c) for c in mask] for mask in MASKS], dtype=np.uint8)
    by_layer = masks.reshape(LAYERS, 2, BATCH)
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        write_head(file, 2 * LAYERS)
        write(file, "masks", masks)
        write_results(file.create_group("none"), exact.step(0, by_layer), approximate.step(0, by_layer))


def write_masked(path: Path) -> None:
    state = initial_state(build(BertForMaskedLM))
    for copy in ("weight", "bias"):
        del state[f"cls.predictions.decoder.{copy}"]  # else it would overwrite what it is tied to
    exact, approximate = (MaskedRun(dtype, state) for dtype in (torch.float64, torch.float32))
    plans = draw_plans()
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        write_head(file, LAYERS, VOCABULARY)
        write(file, "plans", plans)
        group = file.create_group("none")
        write_results(group, exact.evaluate(), approximate.evaluate())
        for step in range(2):
            group = file.create_group(f"none/step{step}")
            masks = masks_of(plans[step])
            write_results(group, exact.step(step, masks), approximate.step(step, masks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent,
                        help="folder of the files (default: beside this script)")  # fmt: skip
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    check_generators()
    state = initial_state(build())
    exact, approximate = (Run(dtype, state) for dtype in (torch.float64, torch.float32))
    for name, writer in (("bert_L2_H128", write_plans), ("sample_bert_L2_H128", write_samples)):
        path = arguments.output / f"{name}.h5"
        writer(path, exact, approximate)
        print(f"{path}: {path.stat().st_size} bytes")
    path = arguments.output / "mlm_bert_L2_H128.h5"
    write_masked(path)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
