"""Views reach every prunable weight of every family, under the right name and the right way round."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from impl.calibration import Calibration
from impl.errors import Unsupported
from impl.families import Family, describe, families, family_of
from impl.model import all_views, blocks, observed, views
from impl.registry import prune
from impl.session import Session, session
from impl.statistics import gram, sum_of_squares
from impl.toys import toy, toy_tokens, toys_of
from impl.walk import walk

ALL = pytest.mark.parametrize("family", toys_of("decoder"))
NAMED = [
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "gemma2",
    "gemma3_text",
    "opt",
    "gpt2",
    "gpt_neox",
    "mixtral",
    "qwen3_moe",
    "phi",
    "phi3",
    "olmo2",
    "falcon",
    "bloom",
]


def calibration(samples: int = 3, length: int = 12) -> Calibration:
    return Calibration(toy_tokens(samples, length), "toy", "random", 0)


def test_every_named_family_is_described() -> None:
    assert set(NAMED) <= set(families())
    assert {toy(name).config.model_type for name in toys_of("decoder")} == set(NAMED)


@ALL
def test_views_cover_every_matrix_of_the_blocks_but_routers(family: str) -> None:
    model = toy(family)
    covered: dict[int, int] = {}
    for view in all_views(model):
        parameter = getattr(view.module, view.parameter)
        covered[id(parameter)] = covered.get(id(parameter), 0) + view.numel
    for name, parameter in blocks(model).named_parameters():
        if parameter.ndim >= 2 and not name.endswith("mlp.gate.weight"):
            assert covered.get(id(parameter)) == parameter.numel(), name


@ALL
def test_a_view_is_out_by_in_and_writes_where_it_reads(family: str) -> None:
    model = toy(family)
    for view in all_views(model):
        before = view.W.clone()
        view.W = before * 2
        assert torch.equal(view.W, before * 2), view.name
        view.W = before
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), toy(family).state_dict().values(), strict=True)
    )
    names = [view.name for view in all_views(model)]
    assert len(set(names)) == len(names)


@ALL
def test_query_key_value_and_gate_up_are_the_rows_they_claim_to_be(family: str) -> None:
    """Zeroing the value rows alone must silence attention: its output no longer sees the input."""
    model = toy(family)
    block = views(model, 0)
    assert {"q", "k", "v"} <= {view.part for view in block}
    for view in block:
        if view.part == "v":
            view.W = torch.zeros_like(view.W)
            bias = getattr(view.module, "bias", None)
            if bias is not None:
                rows = slice(None) if view.rows is None else view.rows
                bias.data[rows] = 0
    output = next(v for v in block if v.part == "o")
    seen = []
    handle = output.module.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(toy_tokens(1, 8), use_cache=False)
    handle.remove()
    assert (seen[0] == 0).all()


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "phi3"])
def test_gate_rows_are_what_the_activation_sees(family: str) -> None:
    model = toy(family)
    for view in views(model, 0):
        if view.part == "gate":
            view.W = torch.zeros_like(view.W)
    down = [view for view in views(model, 0) if view.part == "down"]
    seen = []
    watch = observed(blocks(model)[0], {v.tap for v in down}, lambda _tap, x: seen.append(x))
    with watch, torch.no_grad():
        model(toy_tokens(1, 8), use_cache=False)
    assert seen
    assert all((x == 0).all() for x in seen)  # silu(0) · up = 0


@ALL
def test_the_walk_gives_each_view_the_inputs_of_a_plain_run(family: str) -> None:
    """Statistics of a dense walk equal those of hooks on the whole model; experts are the rest."""
    model, sums = toy(family), {}

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        sums[module] = sums.get(module, 0) + inputs[0].double().square().flatten(0, -2).sum(0)

    linear = {
        view.module for view in all_views(model) if isinstance(view.module, nn.Linear | Conv1D)
    }
    handles = [module.register_forward_pre_hook(add) for module in linear]
    with torch.no_grad():
        model(calibration().tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    for block in walk(model, calibration(), propagate="dense"):
        for view, squares in block.collect(sum_of_squares):
            if view.module in sums:
                torch.testing.assert_close(squares, sums[view.module], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_experts_see_their_own_tokens_and_all_of_them_together(family: str) -> None:
    model = toy(family)
    tokens, chosen = calibration().tokens.numel(), model.config.num_experts_per_tok
    for block in walk(model, calibration()):
        seen: dict[int, float] = {}
        inputs: list[torch.Tensor] = []
        block.module.mlp.register_forward_pre_hook(
            lambda _m, args, inputs=inputs: inputs.append(args[0].double())
        )
        for view, squares in block.collect(sum_of_squares):
            if view.part == "up":
                assert view.expert is not None
                seen[view.expert] = float(squares.sum())
        # Every token goes to `chosen` experts, so the energies add up to that many times its own.
        total = float(sum(x.square().sum() for x in inputs))
        assert sum(seen.values()) == pytest.approx(chosen * total, rel=1e-5)
        assert len(seen) == 4
        assert tokens


def test_pruned_activations_flow_on_and_dense_ones_when_asked() -> None:
    for propagate, expected in (("pruned", False), ("dense", True)):
        model, dense = toy("llama"), toy("llama")
        sums = {}
        for block in walk(dense, calibration()):
            sums[block.index] = {v.name: s for v, s in block.collect(sum_of_squares)}
        for block in walk(model, calibration(), propagate=propagate):  # type: ignore[arg-type]
            for view, squares in block.collect(sum_of_squares):
                if block.index == 2:
                    assert torch.allclose(squares, sums[2][view.name]) is expected
                view.W = torch.zeros_like(view.W)


def test_alternating_attention_gets_each_blocks_own_mask() -> None:
    """Gemma 2 alternates; with one mask for all blocks the last block's input would be off."""
    model, inputs = toy("gemma2"), []
    handle = blocks(model)[2].register_forward_pre_hook(lambda _m, args: inputs.append(args[0]))
    with torch.no_grad():
        model(toy_tokens(1, 24), use_cache=False)
    handle.remove()
    for block in walk(model, Calibration(toy_tokens(1, 24), "toy", "", 0)):
        if block.index == 2:
            assert block._activations is not None
            torch.testing.assert_close(block._activations.hidden[0], inputs[0])


def test_views_with_the_same_input_share_one_sum() -> None:
    block = next(walk(toy("llama"), calibration()))
    sums = {view.part: value for view, value in block.collect(gram)}
    assert sums["q"] is sums["k"] is sums["v"]
    assert sums["gate"] is sums["up"]
    assert sums["q"] is not sums["o"]


def test_what_no_input_depends_on_is_computed_for_the_first_batch_only() -> None:
    model = toy("llama")
    block = next(walk(model, calibration(samples=5), propagate="dense"))
    down, zero = block.module.mlp.down_proj, []
    handle = down.register_forward_hook(lambda _m, _i, output: zero.append(not output.any()))
    list(block.collect(gram))
    handle.remove()
    assert zero == [False, True, True, True, True]
    assert "forward" not in vars(down)
    assert block.run(1).ne(block.inputs(1)).any()
    assert down(torch.ones(1, 64)).any()


def test_a_new_family_needs_one_description() -> None:
    model = toy("llama")
    model.config.model_type = "llama-like"
    with pytest.raises(
        Unsupported, match=r"'llama-like' is not described .*closest: llama.*describe"
    ):
        prune(model, "magnitude", sparsity=0.5)
    describe(Family("llama-like", "model.layers"))
    assert family_of(model).name == "llama-like"
    assert prune(model, "magnitude", sparsity=0.5).achieved == 0.5


def test_a_model_without_configuration_is_refused() -> None:
    with pytest.raises(Unsupported, match="Sequential"):
        prune(nn.Sequential(nn.Linear(4, 4)), "magnitude")


def test_blocks_go_home_after_a_visit_to_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only moves are recorded, there being no accelerator: there and back, also after a failure."""
    model = toy("llama")
    names = {module: name for name, module in model.named_modules()}
    moves: list[tuple[str, str]] = []

    def move(module: nn.Module, device: torch.device) -> nn.Module:
        moves.append((names[module], str(device)))
        return module

    monkeypatch.setattr(nn.Module, "to", move)

    def visit(fail_at: int) -> None:
        with session(model, Session(device=torch.device("meta")), 0):
            for block in walk(model):
                if block.index == fail_at:
                    raise ZeroDivisionError

    visit(fail_at=-1)
    for index in range(3):
        one = [device for name, device in moves if name == f"model.layers.{index}"]
        assert one[:2] == ["meta", "cpu"]
    assert [device for _, device in moves[:4]] == ["meta", "cpu", "meta", "cpu"]
    moves.clear()
    with pytest.raises(ZeroDivisionError):
        visit(fail_at=1)
    assert moves[2] == ("model.layers.1", "meta")
    assert ("model.layers.1", "cpu") in moves[3:]
