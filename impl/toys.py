"""Small random models of every described family, for the contract that methods must keep.

Their weights are random but not plain: input channels differ in scale, as
in trained models, so that magnitude, Wanda and SparseGPT disagree.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from impl.store import AUTO, describe_kind
from impl.tasks import LabelledData

VOCABULARY, WIDTH, CONTEXT, LABELS = 97, 32, 64, 4

_LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_ALL_HEADS = {**_LLAMA, "num_key_value_heads": 4}
_NORM = {"head_dim": 8}
_SHORT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_ALTERNATING = {
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}

_ENCODER = {
    **_SHORT,
    "intermediate_size": 64,
    "max_position_embeddings": CONTEXT + 2,
    "num_labels": LABELS,
}
_CONVNET: dict[str, Any] = {
    "num_channels": 1,
    "embedding_size": 8,
    "hidden_sizes": [16, 24],
    "depths": [2, 2],
    "layer_type": "basic",
    "num_labels": LABELS,
}

TOYS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _LLAMA),
    "llama-multi-query": ("LlamaConfig", {**_LLAMA, "num_key_value_heads": 1}),
    "llama-tied": ("LlamaConfig", {**_LLAMA, "tie_word_embeddings": True}),
    "mistral": ("MistralConfig", _LLAMA),
    "qwen2": ("Qwen2Config", _LLAMA),
    "qwen3": ("Qwen3Config", {**_LLAMA, **_NORM}),
    "gemma2": ("Gemma2Config", {**_LLAMA, **_NORM, **_ALTERNATING, "query_pre_attn_scalar": 8}),
    "gemma3": (
        "Gemma3TextConfig",
        {**_LLAMA, **_NORM, **_ALTERNATING, "query_pre_attn_scalar": 8},
    ),
    "opt": (
        "OPTConfig",
        {**_SHORT, "ffn_dim": 64, "max_position_embeddings": CONTEXT, "word_embed_proj_dim": WIDTH},
    ),
    "gpt2": (
        "GPT2Config",
        {**_SHORT, "n_positions": CONTEXT},
    ),
    "gpt_neox": ("GPTNeoXConfig", _ALL_HEADS),
    "mixtral": ("MixtralConfig", {**_LLAMA, "num_local_experts": 4}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {
            **_LLAMA,
            **_NORM,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
        },
    ),
    "phi": ("PhiConfig", _ALL_HEADS),
    "phi3": ("Phi3Config", _LLAMA),
    "olmo2": ("Olmo2Config", _LLAMA),
    "falcon": ("FalconConfig", _SHORT),
    "falcon-grouped": (
        "FalconConfig",
        {**_SHORT, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "bloom": ("BloomConfig", _SHORT),
    "bert": ("BertConfig", _ENCODER),
    "roberta": ("RobertaConfig", _ENCODER),
    "resnet-basic": ("ResNetConfig", _CONVNET),
    "resnet-bottleneck": ("ResNetConfig", {**_CONVNET, "layer_type": "bottleneck"}),
}
"""Name to transformers' configuration class and its arguments."""


def toy(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """A random model of three blocks and width 32 of the family `name`, in evaluation mode.

    The caller's random state stays as it is.
    """
    config_class, arguments = TOYS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = getattr(transformers, config_class)(**arguments)
        model: PreTrainedModel = AUTO[describe_kind(config)].from_config(config, dtype=dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 4:
                    parameter.mul_(torch.rand(len(parameter), 1, 1, 1) + 0.5)
                elif parameter.ndim >= 2:
                    # Larger than the usual initialisation, so that every layer matters.
                    noise = torch.randn(parameter.shape) / parameter.shape[-1] ** 0.5
                    scale = torch.rand(parameter.shape[-1]) + 0.5
                    parameter.copy_(noise * scale)
                else:
                    parameter.add_(0.3 * torch.randn(parameter.shape))
    model.eval()
    return model


def toy_tokens(samples: int = 4, length: int = 16, seed: int = 1) -> torch.Tensor:
    """Random tokens of the toys' vocabulary, (samples, length)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (samples, length), generator=generator)


def _kind(name: str) -> str:
    return describe_kind(getattr(transformers, TOYS[name][0])())


def toys_of(kind: str) -> list[str]:
    """The toys of a kind of model."""
    return [name for name in TOYS if _kind(name) == kind]


def toy_labelled(name: str, samples: int = 8, seed: int = 1) -> LabelledData:
    """Random inputs with random labels for the encoder or convolutional toy `name`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, LABELS, (samples,), generator=generator)
    if _kind(name) == "encoder":
        inputs = {"input_ids": toy_tokens(samples, 16, seed)}
    else:
        inputs = {"pixel_values": torch.randn(samples, 1, 32, 32, generator=generator)}
    return LabelledData(inputs, labels, "toy", "random", seed)
