"""Trains `tiny-moe`, `tiny-encoder` or `tiny-convnet` from scratch and writes its folder.

    python scripts/train_tiny_others.py moe|encoder|convnet [--out FOLDER] [--steps N] [--threads N] [--seed N]

Ten minutes or less each on two CPU threads. The same seed, thread count, machine and versions give the
same weights; other machines round differently and give a model of the same quality.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
)

from impl import language, tasks

ASSETS = Path(language.__file__).parent / "assets"
CONTEXT = 512  # of tiny-moe, in tokens
SHORT, LONG = (16, 128), (4, CONTEXT)  # (windows, length) of its batches: of three steps, a fourth
BALANCE = 0.02  # weight of the load-balancing loss, as in Mixtral's configuration
TEXTS, IMAGES = 20, 64  # of a batch; a text comes in a version for each label
EXCHANGES = 0.5  # share of the steps of tiny-encoder that learn from exchanged words alone
EVALUATION = 2000  # labelled samples that accuracy is measured on
WARMUP = 0.05

Batches = Iterator[dict[str, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """How one of the models is built, fed and described."""

    build: Callable[[], PreTrainedModel]
    batches: Callable[[int, int], Batches]
    """(steps, seed) to one batch a step"""
    loss: Callable[[PreTrainedModel, dict[str, Tensor]], Tensor]
    describe: Callable[[PreTrainedModel], str]
    """The README with everything but how it was trained, for which it has {training}"""
    steps: int
    learning_rate: float
    weight_decay: float


def plain_loss(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """The model's own loss, of the labels."""
    loss: Tensor = model(**batch).loss
    return loss


# --- moe ----------------------------------------------------------------------------------------


def build_moe() -> PreTrainedModel:
    """A mixtral whose widths are multiples of 8 (for 2:4 and 4:8)."""
    token = language.WORDS.index(language.START)
    config = MixtralConfig(
        vocab_size=len(language.WORDS),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=2,
        router_aux_loss_coef=BALANCE,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.04,
        bos_token_id=token,
        eos_token_id=token,
        pad_token_id=token,
    )
    return MixtralForCausalLM(config)


def texts(steps: int, seed: int) -> Batches:
    """Windows of the language, each from the start of a document."""
    tokenizer = language.tokenizer()
    for step in range(steps):
        count, length = LONG if step % 4 == 3 else SHORT
        windows = [language.text(f"moe {seed}.{step}.{i}", length, "train") for i in range(count)]
        tokens = torch.tensor(tokenizer(windows)["input_ids"])
        yield {"input_ids": tokens, "labels": tokens}


def balanced_loss(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """The loss of the next word, and of routers that prefer some experts."""
    loss: Tensor = model(**batch, output_router_logits=True, use_cache=False).loss
    return loss


@torch.no_grad()
def describe_moe(model: PreTrainedModel) -> str:
    config: Any = model.config
    tokenizer = language.tokenizer()
    rows = []
    for length in (128, CONTEXT):
        windows = language.windows(0, 64, length, "evaluation")
        tokens = torch.tensor(tokenizer(windows)["input_ids"])
        losses, used = [], torch.zeros(config.num_hidden_layers, config.num_local_experts)
        for row in tokens:
            output = model(row[None], labels=row[None], output_router_logits=True)
            losses.append((output.loss - BALANCE * output.aux_loss).item())
            for layer, logits in enumerate(output.router_logits):
                chosen = logits.topk(config.num_experts_per_tok).indices
                used[layer] += torch.bincount(chosen.flatten(), minlength=used.shape[1])
        ours, best = math.exp(sum(losses) / len(losses)), language.optimal_perplexity(windows)
        rows.append(f"| {length} | {ours:.2f} | {best:.2f} | {ours / best - 1:.1%} |")
    shares = [
        f"| {layer} | {' | '.join(f'{share:.0%}' for share in row / row.sum())} |"
        for layer, row in enumerate(used)
    ]
    return f"""\
# tiny-moe

A mixtral, a mixture of experts with grouped-query attention, trained from scratch on the synthetic
language that `impl/language.py` defines, as `tiny` was, so that the best perplexity that any model can
have is known.

| | |
| --- | --- |
| parameters | {model.num_parameters():,} (tied embeddings; float32) |
| shape | {config.num_hidden_layers} blocks, hidden {config.hidden_size}, \
{config.num_attention_heads} heads, {config.num_key_value_heads} key-value heads, \
{config.num_local_experts} experts of width {config.intermediate_size}, \
{config.num_experts_per_tok} for each token |
| context | {CONTEXT} tokens, one token a word, {config.vocab_size} words |
| training | {{training}}, load-balancing loss weighted {BALANCE} |

Perplexity on text that it has not seen (split `evaluation`, seed 0, 64 windows):

| window | tiny-moe | best possible on that text | above it |
| --- | --- | --- | --- |
{chr(10).join(rows)}

Share of the choices of the router that falls on each expert (the windows of {CONTEXT}):

| block | {" | ".join(str(expert) for expert in range(config.num_local_experts))} |
| --- |{" --- |" * config.num_local_experts}
{chr(10).join(shares)}
"""


# --- encoder ------------------------------------------------------------------------------------


def build_encoder() -> PreTrainedModel:
    """A BERT that classifies the texts of the task `agreement` by what is wrong with them."""
    token = language.WORDS.index(language.START)
    config = BertConfig(
        vocab_size=len(language.WORDS),
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=8,
        intermediate_size=128,
        max_position_embeddings=64,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.04,
        bos_token_id=token,
        eos_token_id=token,
        pad_token_id=token,
        **labels_of("agreement"),
    )
    model = BertForSequenceClassification(config)
    # Only for training, see `agreement_loss`.
    model.detector = nn.Linear(config.hidden_size, len(tasks.TASKS["agreement"].names))
    return model


def labels_of(task: str) -> dict[str, Any]:
    names = tasks.TASKS[task].names
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: label for label, name in enumerate(names)},
    }


def sentences(steps: int, seed: int) -> Batches:
    """Texts of `agreement` with what was done to each word (`words`, a label for each).

    At first texts with several exchanged words, from which agreement is learnt word by word. Then
    the task itself, every text in all versions, so that a batch has every label equally often.
    """
    kinds = tasks.TASKS["agreement"].names
    labels = torch.arange(len(kinds)).repeat(TEXTS)
    for step in range(steps):
        if step < EXCHANGES * steps:
            yield exchanges(f"{seed}.{step}", TEXTS * len(kinds))
        else:
            keys = [f"{seed}.{step}.{text}" for text in range(TEXTS) for _ in kinds]
            tokens = tasks.agreement(keys, labels.tolist(), "train")
            intact = tokens[labels == 0].repeat_interleave(len(kinds), dim=0)
            words = (tokens != intact) * labels[:, None]
            yield {"input_ids": tokens, "words": words, "labels": labels}


def exchanges(key: str, count: int) -> dict[str, Tensor]:
    """`count` texts in which a third of the words that can be exchanged are, at most two of a kind."""
    rng = random.Random(f"exchanges {key}")
    kinds = tasks.TASKS["agreement"].names
    tokens, words = [], []
    for number in range(count):
        text, _ = tasks.text(f"exchanges {key}.{number}", "train")
        done = [0] * len(text)
        for kind, places in tasks.exchangeable(text).items():
            for _ in range(2):
                if places and rng.random() < 1 / 3:
                    before = text.copy()
                    tasks.exchange(text, {kind: places}, kind, rng)
                    for i in places:
                        if text[i] != before[i]:
                            done[i] = kinds.index(kind)
                    places = [i for i in places if not done[i]]
        tokens.append([language.WORDS.index(word) for word in text])
        words.append(done)
    return {"input_ids": torch.tensor(tokens), "words": torch.tensor(words)}


def agreement_loss(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """The loss of the labels, where there are any, and of what was done to each word.

    A label for a whole text teaches agreement very slowly. The detector of exchanged words is a
    linear layer beside the classifier and is thrown away after training.
    """
    encoder: Any = model
    hidden = encoder.bert(batch["input_ids"])
    found = encoder.detector(hidden.last_hidden_state).flatten(0, 1)
    words, labels = batch["words"].flatten(), batch.get("labels")
    weight = torch.tensor([1.0] + [5.0 if labels is None else 1.0] * (found.shape[1] - 1))
    loss = 3 * nn.functional.cross_entropy(found, words, weight)
    if labels is not None:
        loss = loss + nn.functional.cross_entropy(encoder.classifier(hidden.pooler_output), labels)
    return loss


def describe_encoder(model: PreTrainedModel) -> str:
    config: Any = model.config
    return f"""\
# tiny-encoder

A BERT that classifies, trained from scratch on the task `agreement` that `impl/tasks.py` defines:
is one word of a text of the synthetic language wrong, and which kind of word. Only attention can
tell, since every word is right in itself. The language decides each text, so that a perfect model
would always be right.

| | |
| --- | --- |
| parameters | {model.num_parameters():,} (float32) |
| shape | {config.num_hidden_layers} blocks, hidden {config.hidden_size}, \
{config.num_attention_heads} heads, MLP {config.intermediate_size} |
| context | {config.max_position_embeddings} tokens, of which the task uses {tasks.WORDS}; one token a \
word, {config.vocab_size} words |
| training | {{training}} |

{accuracies(model, "agreement")}"""


# --- convnet ------------------------------------------------------------------------------------


def build_convnet() -> PreTrainedModel:
    """A residual network of basic blocks with batch norm for the images of the task `shapes`."""
    config = ResNetConfig(
        num_channels=1,
        embedding_size=16,
        hidden_sizes=[16, 32, 64],
        depths=[2, 2, 2],
        layer_type="basic",
        **labels_of("shapes"),
    )
    return ResNetForImageClassification(config)


def images(steps: int, seed: int) -> Batches:
    for step in range(steps):
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        labels = torch.arange(IMAGES) % len(tasks.TASKS["shapes"].names)
        labels = labels[torch.randperm(IMAGES, generator=generator)]
        keys = [f"{seed}.{step}.{image}" for image in range(IMAGES)]
        pixels = tasks.shapes(keys, labels.tolist(), "train")
        yield {"pixel_values": pixels, "labels": labels}


def describe_convnet(model: PreTrainedModel) -> str:
    config: Any = model.config
    return f"""\
# tiny-convnet

A residual convolutional network with batch norm, trained from scratch on the task `shapes` that
`impl/tasks.py` defines: which shape is it, whatever its place, size, turn and brightness, in noise
and before stripes. Some images are lost in noise.

| | |
| --- | --- |
| parameters | {model.num_parameters():,} (float32) |
| shape | stem of {config.embedding_size} filters, then stages of {config.hidden_sizes} filters with \
{config.depths} basic blocks |
| input | grey images of {tasks.SIDE} x {tasks.SIDE} pixels, from -1 to 1 |
| training | {{training}} |

{accuracies(model, "shapes")}"""


# --- all ----------------------------------------------------------------------------------------


@torch.no_grad()
def accuracies(model: PreTrainedModel, task: str) -> str:
    """A table of how often the model is right about samples that it has not seen."""
    data = tasks.load_task(task, EVALUATION, 0, "evaluation")
    model.eval()
    right = torch.cat([
        model(**inputs).logits.argmax(-1) == labels for inputs, labels in data.batches(250)
    ]).float()  # fmt: skip
    rows = [
        f"| {name} | {right[data.labels == label].mean():.1%} |"
        for label, name in enumerate(data.names)
    ]
    return f"""\
Accuracy on samples that it has not seen (split `evaluation`, seed 0, {EVALUATION} samples); a guess is
right {tasks.TASKS[task].chance:.0%} of the time:

| label | accuracy |
| --- | --- |
| all | {right.mean():.1%} |
{chr(10).join(rows)}
"""


RECIPES = {
    "moe": Recipe(build_moe, texts, balanced_loss, describe_moe, 3000, 5e-3, 0.01),
    "encoder": Recipe(build_encoder, sentences, agreement_loss, describe_encoder, 3600, 2e-3, 0.01),
    "convnet": Recipe(build_convnet, images, plain_loss, describe_convnet, 6000, 4e-3, 0.05),
}


def rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step: linear warm-up, then a cosine down to zero."""
    warmup = WARMUP * steps
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def train(recipe: Recipe, steps: int, seed: int) -> tuple[PreTrainedModel, int]:
    """The trained model in evaluation mode, and the number of samples that it saw."""
    torch.manual_seed(seed)
    model = recipe.build()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    seen, smooth = 0, math.nan
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    model.train()
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task("training", total=steps)
        for step, batch in enumerate(recipe.batches(steps, seed)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * rate(step, steps)
            loss = recipe.loss(model, batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            seen += len(next(iter(batch.values())))
            smooth = loss.item() if step == 0 else smooth + 0.03 * (loss.item() - smooth)
            if not bar.console.is_terminal and step % 200 == 0:
                print(f"step {step}: loss {smooth:.3f}", flush=True)
            bar.update(task, advance=1, description=f"loss {smooth:6.3f}")
    model.eval()
    return model, seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = RECIPES[arguments.model]
    steps = arguments.steps or recipe.steps
    out: Path = arguments.out or ASSETS / f"tiny-{arguments.model}"

    started = time.process_time()
    model, seen = train(recipe, steps, arguments.seed)
    minutes = (time.process_time() - started) / 60
    training = (
        f"{seen:,} samples in {steps} steps, seed {arguments.seed}, {minutes:.0f} minutes of CPU "
        f"time on {arguments.threads} thread(s), torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )
    if "detector" in model._modules:
        del model._modules["detector"]
    readme = recipe.describe(model).format(training=training)
    print(readme)

    staging = out.with_name(f".{out.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    model.save_pretrained(staging)
    if arguments.model != "convnet":
        tokenizer = language.tokenizer()
        tokenizer.model_max_length = model.config.max_position_embeddings
        tokenizer.save_pretrained(staging)
    readme += "\nMade by `python scripts/train_tiny_others.py {}`. The weights are under the licence of this\nrepository.\n"
    (staging / "README.md").write_text(readme.format(arguments.model), "utf-8")
    for path in staging.iterdir():
        path.chmod(0o644)
    if out.exists():
        shutil.rmtree(out)
    staging.replace(out)


if __name__ == "__main__":
    main()
