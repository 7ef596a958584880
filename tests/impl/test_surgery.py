"""What is cut out is gone, and what is left acts as if the rest had been silenced."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from impl.errors import BadInput, Unsupported
from impl.model import blocks, experts, heads, neurons, views
from impl.store import read_checkpoint, save
from impl.surgery import (
    drop_blocks,
    keep_experts,
    keep_heads,
    keep_hidden,
    keep_neurons,
    settle,
)
from impl.toys import TOYS, toy, toy_tokens, toys_of

DECODERS = toys_of("decoder")
WITH_HEADS = [
    name
    for name in DECODERS
    if name not in ("phi3", "olmo2", "bloom") and heads(toy(name), 0).groups > 1
]
DENSE = [name for name in DECODERS if name not in ("mixtral", "qwen3_moe")]


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(toy_tokens(2, 12, 7), use_cache=False).logits
    return found


def close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-4 * one.abs().max())


def decodes_with_its_cache(model: PreTrainedModel) -> bool:
    tokens = toy_tokens(1, 10, 5)
    with torch.no_grad():
        whole = model(tokens, use_cache=False).logits
        start = model(tokens[:, :6], use_cache=True)
        rest = model(tokens[:, 6:], past_key_values=start.past_key_values, use_cache=True)
    return close(whole, torch.cat([start.logits, rest.logits], 1))


@pytest.mark.parametrize("family", WITH_HEADS)
def test_without_a_group_of_heads_the_model_acts_as_if_they_said_nothing(family: str) -> None:
    silenced, cut = toy(family), toy(family)
    layout = heads(silenced, 1)
    keep = torch.ones(layout.groups, layout.queries, dtype=torch.bool)
    keep[-1] = False
    W = layout.o.W.clone()
    W.view(len(W), -1, layout.size)[:, ~keep.flatten()] = 0
    layout.o.W = W
    keep_heads(cut, 1, keep)
    assert heads(cut, 1).groups == layout.groups - 1
    assert heads(cut, 1).q.numel < layout.q.numel
    assert close(logits(silenced), logits(cut))
    assert decodes_with_its_cache(cut)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "mixtral", "llama-multi-query"])
def test_every_group_can_lose_one_of_its_queries(family: str) -> None:
    silenced, cut = toy(family), toy(family)
    layout = heads(silenced, 1)
    keep = torch.ones(layout.groups, layout.queries, dtype=torch.bool)
    keep[:, 0] = False
    W = layout.o.W.clone()
    W.view(len(W), -1, layout.size)[:, ~keep.flatten()] = 0
    layout.o.W = W
    keep_heads(cut, 1, keep)
    assert (heads(cut, 1).groups, heads(cut, 1).queries) == (layout.groups, layout.queries - 1)
    assert close(logits(silenced), logits(cut))
    assert decodes_with_its_cache(cut)


@pytest.mark.parametrize("family", DENSE)
def test_without_neurons_the_model_acts_as_if_they_were_off(family: str) -> None:
    silenced, cut = toy(family), toy(family)
    layout = neurons(silenced, 1)
    keep = torch.arange(layout.count) % 3 != 0
    layout.down.W = layout.down.W * keep
    keep_neurons(cut, 1, keep)
    assert neurons(cut, 1).count == int(keep.sum())
    assert close(logits(silenced), logits(cut))


@pytest.mark.parametrize("family", DECODERS)
def test_the_residual_stream_shrinks_everywhere(family: str) -> None:
    model = toy(family)
    keep_hidden(model, torch.arange(32) % 4 != 0)
    assert all(v.shape[1] == 24 for v in views(model, 0) if v.part in ("q", "up"))
    assert all(v.shape[0] == 24 for v in views(model, 0) if v.part in ("o", "down"))
    assert logits(model).isfinite().all()
    assert decodes_with_its_cache(model)


def test_channels_that_are_zero_everywhere_can_go_without_a_trace() -> None:
    """LayerNorm apart: in OPT a channel that is zero still counts in the mean, so llama it is."""
    silenced = toy("llama")
    keep = torch.arange(32) % 4 != 0
    with torch.no_grad():
        for name, parameter in silenced.named_parameters():
            if "norm" in name:
                parameter *= (24 / 32) ** 0.5  # the root mean square is now over fewer channels
            if name.endswith(("embed_tokens.weight",)):
                parameter[:, ~keep] = 0
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter[~keep] = 0
    cut = toy("llama")
    keep_hidden(cut, keep)
    cut_state = cut.state_dict()
    with torch.no_grad():
        for name, parameter in silenced.named_parameters():
            if "norm" in name:
                cut_state[name].copy_(parameter[keep] / (24 / 32) ** 0.5)
    assert close(logits(silenced), logits(cut))


@pytest.mark.parametrize("family", DECODERS)
def test_a_dropped_block_is_one_that_hands_on_what_it_gets(family: str) -> None:
    skipped, cut = toy(family), toy(family)
    blocks(skipped)[1].register_forward_hook(
        lambda _m, args, kwargs, out: (
            (args[0] if args else kwargs["hidden_states"],)
            if isinstance(out, tuple)
            else (args[0] if args else kwargs["hidden_states"])
        ),
        with_kwargs=True,
    )
    drop_blocks(cut, [1])
    assert cut.config.num_hidden_layers == len(blocks(cut)) == 2
    assert torch.equal(logits(skipped), logits(cut))
    assert decodes_with_its_cache(cut)
    assert settle(cut)


def test_alternating_attention_stays_with_its_block() -> None:
    model = toy("gemma2")
    kept = model.config.layer_types[1:]
    drop_blocks(model, [0])
    assert model.config.layer_types == kept


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_an_expert_that_the_router_never_chooses_can_go(family: str) -> None:
    never, cut = toy(family), toy(family)
    for model in (never, cut):
        for index in range(3):
            router = next(
                m
                for m in blocks(model)[index].modules()
                if hasattr(m, "top_k") and hasattr(m, "weight")
            )
            with torch.no_grad():  # all routers see positive inputs at most by chance: shut it off
                router.weight[2] = 0
    for index in range(3):
        keep_experts(cut, index, torch.tensor([True, True, False, True]))
        module = experts(cut, index)
        assert module.num_experts == 3
        assert all(len(p) == 3 for p in module.parameters() if p.ndim == 3)
    assert logits(cut).isfinite().all()
    assert settle(cut)
    count = getattr(cut.config, "num_local_experts", None) or cut.config.num_experts
    assert count == 3


def test_fewer_experts_than_a_token_is_sent_to() -> None:
    model = toy("mixtral")
    for index in range(3):
        keep_experts(model, index, torch.tensor([True, False, False, False]))
    assert logits(model).isfinite().all()
    assert settle(model)
    assert model.config.num_experts_per_tok == 1


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "opt", "llama-tied", "gemma2"])
def test_blocks_of_different_sizes_are_saved_and_loaded_by_their_shapes(
    family: str, tmp_path: Path
) -> None:
    model = toy(family)
    layout = heads(model, 1)
    keep = torch.ones(layout.groups, dtype=torch.bool)
    keep[0] = False
    keep_heads(model, 1, keep)
    keep_neurons(model, 2, torch.arange(neurons(model, 2).count) % 2 == 0)
    assert not settle(model)
    save(model, None, tmp_path / "model", {})
    loaded = read_checkpoint(tmp_path / "model")
    assert torch.equal(logits(model), logits(loaded))
    assert decodes_with_its_cache(loaded)
    assert loaded.config.tie_word_embeddings == model.config.tie_word_embeddings


@pytest.mark.parametrize("family", ["llama", "qwen3", "phi", "mistral"])
def test_blocks_of_equal_sizes_make_a_plain_checkpoint(family: str, tmp_path: Path) -> None:
    model = toy(family)
    for index in range(3):
        layout = heads(model, index)
        keep_heads(model, index, torch.arange(layout.groups) < layout.groups // 2)
        keep_neurons(model, index, torch.arange(64) < 40)
    assert settle(model)
    save(model, None, tmp_path / "model", {})
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(logits(model), logits(loaded))


def test_files_that_make_up_no_model_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = toy("llama")
    keep_neurons(model, 2, torch.arange(64) < 40)
    settle(model)
    save(model, None, tmp_path / "model", {})
    file = tmp_path / "model" / "model.safetensors"
    state = load_file(file)
    lost = {name: value for name, value in state.items() if "layers.1.mlp.up" not in name}
    save_file(lost, file, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"incomplete: .*layers\.1\.mlp\.up"):
        read_checkpoint(tmp_path / "model")
    save_file({**state, "model.layers.7.x": torch.ones(1)}, file, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"no weight called model\.layers\.7\.x"):
        read_checkpoint(tmp_path / "model")


def test_what_cannot_be_cut_is_said_before_anything_is() -> None:
    model = toy("llama")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="not equally many"):
        keep_heads(model, 0, torch.tensor([[True, True], [True, False]]))
    with pytest.raises(ValueError, match="keep 0 of 64 neurons"):
        keep_neurons(model, 0, torch.zeros(64))
    with pytest.raises(ValueError, match="of 3 blocks"):
        drop_blocks(model, [0, 1, 2])
    with pytest.raises(Unsupported, match="no experts"):
        keep_experts(model, 0, torch.ones(4))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    with pytest.raises(Unsupported, match="ALiBi"):
        keep_heads(toy("bloom"), 0, torch.ones(4))
    with pytest.raises(Unsupported, match="mixture of experts"):
        keep_neurons(toy("mixtral"), 0, torch.ones(64))


def test_every_toy_is_of_a_kind() -> None:
    kinds = [toys_of("decoder"), toys_of("encoder"), toys_of("convnet")]
    assert sorted(TOYS) == sorted(name for kind in kinds for name in kind)
