"""prune() from Python: its report, its errors, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch

from impl import BadInput, Unsupported, method_names, prune
from impl.calibration import Calibration
from impl.toys import toy, toy_tokens


def calibration(samples: int = 4, length: int = 16) -> Calibration:
    return Calibration(toy_tokens(samples, length), "toy", "random", 0)


def test_the_report_says_what_was_done_and_where() -> None:
    report = prune(toy("llama"), "wanda", calibration=calibration(), sparsity=0.4)
    assert report.asked == 0.4
    assert report.achieved == pytest.approx(0.4, abs=1e-3)
    assert report.removed == sum(layer.removed for layer in report.layers)
    assert len(report.layers) == 21
    assert report.layers[0].name == "model.layers.0.self_attn.q_proj"
    assert all(layer.sparsity == pytest.approx(0.4, abs=1e-3) for layer in report.layers)
    assert report.read == {"sum_of_squares": 4 * 3}
    assert report.peak_memory_bytes >= report.memory_before_bytes > 0
    assert report.to_dict()["options"] == {"sparsity": 0.4, "pattern": None}


def test_half_goes_when_nothing_is_said_and_a_pattern_brings_its_share() -> None:
    assert prune(toy("llama"), "magnitude").achieved == 0.5
    assert prune(toy("llama"), "magnitude", pattern="1:4").asked == 0.75
    assert prune(toy("llama"), "magnitude", pattern="1:4", sparsity=0.75).achieved == 0.75


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sparsity": 1.2}, "1.2 is not in the range"),
        ({"sparsity": "half"}, "not a number"),
        ({"pattern": "2:4", "sparsity": 0.6}, "removes 0.5 of the weights"),
        ({"pattern": "3:5"}, "5 does not divide its 32 inputs"),
        ({"calibration": None}, "needs calibration text"),
        ({"blocksize": 64}, "has no option 'blocksize'"),
        ({"calibration": calibration(1, 65)}, "65 tokens, the model's context 64"),
    ],
)
def test_errors_name_what_is_wrong(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        prune(toy("llama"), "wanda", **{"calibration": calibration(), **arguments})  # type: ignore[arg-type]


def test_unknown_methods_and_options_bring_the_closest() -> None:
    with pytest.raises(BadInput, match="closest: sparsegpt"):
        prune(toy("llama"), "sparsgpt")
    with pytest.raises(BadInput, match="closest: dampening"):
        prune(toy("llama"), "sparsegpt", calibration=calibration(), damping=1)
    assert {"magnitude", "wanda", "sparsegpt"} <= set(method_names())


def test_quantised_and_empty_models_are_refused() -> None:
    model = toy("llama")
    model.model.layers[1].mlp.up_proj.weight = torch.nn.Parameter(
        torch.zeros(64, 32, dtype=torch.int8), requires_grad=False
    )
    with pytest.raises(Unsupported, match=r"layers\.1\.mlp\.up_proj is stored as torch\.int8"):
        prune(model, "magnitude")
    with pytest.raises(Unsupported, match="meta device"):
        prune(toy("llama").to("meta"), "magnitude")


def test_inference_stays_off_the_callers_gradients() -> None:
    """Pruning in the middle of the caller's own training must not touch its graph or mode."""
    model = toy("llama").train()
    before = [p.requires_grad for p in model.parameters()]
    prune(model, "wanda", calibration=calibration())
    assert torch.is_grad_enabled()
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())
    model(toy_tokens(1, 8), labels=toy_tokens(1, 8)).loss.backward()
    assert model.model.layers[0].mlp.up_proj.weight.grad is not None


def test_no_hyperparameter_is_called_like_an_option_of_every_run() -> None:
    import typer.main

    from catalog.cli import app
    from impl.registry import RUNS_OWN, method

    command = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    assert {option.name for option in command.params} - {"model", "calibration"} <= RUNS_OWN | {
        "as_json",
        "help",
    }
    with pytest.raises(BadInput, match="collider: samples is an option of every run"):

        @method("collider", budget="weights", needs="calibration")
        def collider(model: object, calibration: object, sparsity: float, samples: int = 3) -> None:
            """Never registered."""
