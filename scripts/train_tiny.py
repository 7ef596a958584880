"""Trains the `tiny` model from scratch on the synthetic language and writes its folder.

    python scripts/train_tiny.py [--out FOLDER] [--steps N] [--threads N] [--seed N]

About ten minutes on one idle CPU thread. The same seed, thread count, machine and versions give the
same weights; other machines round differently and give a model of the same quality.
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from impl import language

CONTEXT = 512
SHORT, LONG = (16, 128), (4, CONTEXT)  # (windows, length) of a batch: of three steps, and a fourth
LEARNING_RATE, WARMUP, WEIGHT_DECAY = 5e-3, 0.05, 0.01


def build(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A llama with grouped-query attention whose widths are multiples of 8 (for 2:4 and 4:8)."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.04,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def batches(tokenizer: PreTrainedTokenizerFast, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """One LongTensor [windows, length] a step, every window from the start of a document."""
    for step in range(steps):
        count, length = LONG if step % 4 == 3 else SHORT
        texts = [language.text(f"{seed}.{step}.{i}", length, "train") for i in range(count)]
        yield torch.tensor(tokenizer(texts)["input_ids"])


def rate(step: int, steps: int) -> float:
    """The learning rate at a step: linear warm-up, then a cosine down to zero."""
    warmup = WARMUP * steps
    if step < warmup:
        return LEARNING_RATE * (step + 1) / warmup
    return LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def train(
    tokenizer: PreTrainedTokenizerFast, steps: int, seed: int
) -> tuple[LlamaForCausalLM, int]:
    """The trained model and the number of tokens that it saw."""
    torch.manual_seed(seed)
    model = build(tokenizer)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim != 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    seen = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task("training", total=steps)
        smooth = math.log(len(tokenizer))
        for step, tokens in enumerate(batches(tokenizer, steps, seed)):
            for group in optimizer.param_groups:
                group["lr"] = rate(step, steps)
            loss = model(tokens, labels=tokens, use_cache=False).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            seen += tokens.numel()
            smooth += 0.03 * (loss.item() - smooth)
            if not bar.console.is_terminal and step % 200 == 0:
                print(f"step {step}: perplexity {math.exp(smooth):.2f}", flush=True)
            bar.update(task, advance=1, description=f"perplexity {math.exp(smooth):6.2f}")
    model.eval()
    return model, seen


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, tokens: torch.Tensor) -> float:
    """exp of the mean over windows of the mean token loss."""
    losses = [model(row[None], labels=row[None]).loss.item() for row in tokens]
    return math.exp(sum(losses) / len(losses))


README = """\
# tiny

A llama with grouped-query attention, trained from scratch on the synthetic language that
`impl/language.py` defines. It is small enough to prune in a second, and since the true probability
of every next word is known, so is the best perplexity that any model can have.

| | |
| --- | --- |
| parameters | {parameters:,} (tied embeddings; float32, {megabytes:.1f} MB) |
| shape | {layers} blocks, hidden {hidden}, {heads} heads, {kv} key-value heads, MLP {mlp} |
| context | {context} tokens, one token a word, {vocabulary} words |
| training | {tokens:.1f} million tokens in {steps} steps, seed {seed}, {minutes:.0f} minutes on \
{threads} CPU thread(s), torch {torch}, transformers {transformers} |

Perplexity on text that it has not seen (split `evaluation`, seed 0, 64 windows):

| window | tiny | best possible on that text | above it |
| --- | --- | --- | --- |
{rows}

Made by `python scripts/train_tiny.py`. The weights are under the licence of this repository.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    default = Path(language.__file__).parent / "assets" / "tiny"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokenizer = language.tokenizer()
    tokenizer.model_max_length = CONTEXT

    started = time.monotonic()
    model, seen = train(tokenizer, arguments.steps, arguments.seed)
    minutes = (time.monotonic() - started) / 60

    rows = []
    for length in (128, CONTEXT):
        texts = language.windows(0, 64, length, "evaluation")
        ours = perplexity(model, torch.tensor(tokenizer(texts)["input_ids"]))
        best = language.optimal_perplexity(texts)
        rows.append(f"| {length} | {ours:.2f} | {best:.2f} | {ours / best - 1:.1%} |")
        print(rows[-1])

    staging = arguments.out.with_name(f".{arguments.out.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    config = model.config
    facts = README.format(
        parameters=model.num_parameters(),
        megabytes=(staging / "model.safetensors").stat().st_size / 1e6,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv=config.num_key_value_heads,
        mlp=config.intermediate_size,
        context=CONTEXT,
        vocabulary=len(tokenizer),
        tokens=seen / 1e6,
        steps=arguments.steps,
        seed=arguments.seed,
        minutes=minutes,
        threads=arguments.threads,
        torch=torch.__version__,
        transformers=transformers.__version__,
        rows="\n".join(rows),
    )
    (staging / "README.md").write_text(facts, "utf-8")
    if arguments.out.exists():
        shutil.rmtree(arguments.out)
    staging.replace(arguments.out)


if __name__ == "__main__":
    main()
