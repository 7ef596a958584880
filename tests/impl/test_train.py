"""Training trains what it is told to, with real optimisation, and leaves the model as it found it."""

from __future__ import annotations

import copy

import pytest
import torch

from impl.evidence import toy_calibration
from impl.losses import batches, losses
from impl.model import all_views
from impl.toys import toy, toy_labelled
from impl.train import distillation, lora, train


def loss_of(model: torch.nn.Module, data: object) -> float:
    with torch.no_grad():
        return sum(float(losses(model, b).sum()) for b in batches(data, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_lowers_the_loss(dtype: torch.dtype) -> None:
    model, text = toy("llama", dtype), toy_calibration()
    before, flags = loss_of(model, text), [p.requires_grad for p in model.parameters()]
    found = train(model, text, 20, 3e-3, batch_size=4, schedule="cosine", warmup=2)
    assert len(found) == 20
    assert loss_of(model, text) < 0.8 * before
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert all(p.dtype == dtype for p in model.parameters())


def test_labels_are_learned_too() -> None:
    model, data = toy("bert"), toy_labelled("bert")
    before = loss_of(model, data)
    train(model, data, 20, 1e-3, batch_size=8)
    assert loss_of(model, data) < 0.8 * before


def test_only_what_is_named_is_trained() -> None:
    model = toy("llama")
    state = copy.deepcopy(model.state_dict())
    norm = model.get_parameter("model.norm.weight")
    train(model, toy_calibration(), 2, 1e-2, parameters=[norm])
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, state[k])]
    assert changed == ["model.norm.weight"]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "opt", "mixtral"])
def test_adapters_are_merged_into_the_weights_and_gone(family: str) -> None:
    model, text = toy(family), toy_calibration()
    state = copy.deepcopy(model.state_dict())
    traces = [(type(m), sorted(m.__dict__)) for m in model.modules()]
    before = loss_of(model, text)
    with torch.no_grad(), lora(model, rank=4, alpha=8) as parameters:
        assert sum(p.numel() for p in parameters) < 0.5 * sum(v.numel() for v in state.values())
        train(model, text, 10, 1e-2, parameters=parameters, batch_size=4)
        inside = loss_of(model, text)
    assert inside < before
    assert loss_of(model, text) == pytest.approx(inside, rel=1e-4)
    assert [(type(m), sorted(m.__dict__)) for m in model.modules()] == traces
    trained = {v.name for v in all_views(model) if v.expert is None}
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, state[k])}
    assert changed
    assert all(any(name.startswith(k.removesuffix(".weight")) for name in trained) for k in changed)
    for name in changed:
        rank = torch.linalg.matrix_rank(
            (model.state_dict()[name] - state[name]).double(), rtol=1e-4
        )
        assert rank <= 4, name


def test_an_interrupted_training_takes_its_adapters_away() -> None:
    model = toy("llama")
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyboardInterrupt), lora(model):
        raise KeyboardInterrupt
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_distillation_is_zero_where_student_and_teacher_agree() -> None:
    teacher, other = toy("llama"), toy("llama", seed=1)
    (batch,) = batches(toy_calibration(), 4)
    assert float(distillation(teacher)(toy("llama"), batch).detach()) == pytest.approx(0, abs=1e-6)
    apart = float(distillation(teacher)(other, batch).detach())
    assert apart > 0.1
    student = toy("llama", seed=1)
    train(student, toy_calibration(), 30, 3e-3, objective=distillation(teacher), batch_size=4)
    assert float(distillation(teacher)(student, batch).detach()) < 0.5 * apart
