"""What every method must keep, as checks that run it on small models of every kind it prunes.

These promises do not depend on what a method claims: exact budget, nothing
else changed, nothing left behind. What it claims, its six tags, is judged in
`impl.experiments`. `check_method` runs all of it and says in words what failed.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from impl import runtime
from impl.calibration import Calibration
from impl.errors import BadInput, PrunedexError, Unsupported
from impl.evidence import budgets, data_for, declared, toy_calibration, toys_for
from impl.losses import Batch, logits
from impl.masks import NM
from impl.model import all_views, blocks, experts, heads, kind_of
from impl.registry import Method, Report, find, prune
from impl.store import AUTO, read_checkpoint, save
from impl.tasks import LabelledData
from impl.toys import LABELS, WIDTH, toy, toy_labelled, toy_tokens

State = dict[str, Tensor]
KEPT_SHAPES = ("weights", "rank", "cache", "activations")
"""Units whose methods leave every tensor its shape."""


class ExpectedFailureError(Exception):
    """The method declares that it does not prune this family; `reason` is what it says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def run(model: PreTrainedModel, name: str, family: str, **arguments: Any) -> Report:
    """One run for the contract: the method's quick options, data of the toys.

    Raises `ExpectedFailureError` where the method refuses a family that it
    declares, and makes sure that the model is then untouched.
    """
    chosen = find(name)
    if chosen.needs != "nothing":
        arguments.setdefault("calibration", data_for(name, family))
    before = _state(model)
    try:
        return prune(model, name, **{**chosen.quick, **arguments})
    except Unsupported as error:
        refusal = error
    reason = declared(name, family)
    assert reason, f'refused, though not listed under "Unsupported": {refusal.message}'
    assert _same(before, _state(model)), "refused, but the model changed"
    raise ExpectedFailureError(reason) from refusal


def _first(name: str) -> dict[str, Any]:
    """The budget that checks use when any will do."""
    return budgets(find(name))[0]


def _state(model: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def _sample(model: PreTrainedModel, family: str) -> Batch:
    if kind_of(model) == "decoder":
        return Batch({"input_ids": toy_tokens(2, 12, 7)})
    data = toy_labelled(family, 2, 7)
    return Batch(data.inputs, data.labels)


def _logits(model: PreTrainedModel, family: str) -> Tensor:
    with torch.no_grad():
        return logits(model, _sample(model, family))


# --- the contract ----------------------------------------------------------


def exact_budget(name: str, family: str) -> None:
    """What was asked is what is gone, in its own unit; a pattern holds in every group."""
    chosen = find(name)
    settings = budgets(chosen) + ([{"sparsity": 0.9}] if chosen.unit.name == "weights" else [])
    for options in settings:
        dense, model = toy(family), toy(family)
        report = run(model, name, family, **options)
        if "pattern" in options:
            nm = NM.parse(options["pattern"])
            assert nm is not None
            for view in all_views(model):
                kept = (view.W != 0).unflatten(-1, (-1, nm.m)).sum(-1)
                assert (kept == nm.n).all(), (
                    f"{view.name}: {int((kept != nm.n).sum()):,} of {kept.numel():,} groups of "
                    f"{nm.m} keep another number than {nm.n}"
                )
        _check_amount(chosen, dense, model, report)


def _check_amount(chosen: Method, dense: Any, model: Any, report: Report) -> None:
    unit, asked = chosen.unit.name, report.asked
    off = abs(report.removed - asked * report.total)
    said = f"asked for {asked:g}, {report.removed:,} of {report.total:,} {unit} went"
    if unit == "weights":
        zeros = sum(int((view.W == 0).sum()) for view in all_views(model))
        assert zeros == report.removed, f"{zeros:,} zeros, {report.removed:,} reported"
        assert off <= len(all_views(model)) / 2 + 1, said
    elif unit == "parameters":
        largest = max(heads(dense, i).group_parameters for i in range(len(blocks(dense))))
        assert off <= largest, said
    elif unit == "blocks":
        assert len(blocks(dense)) - len(blocks(model)) == asked, said
    elif unit == "experts":
        for index in range(len(blocks(dense))):
            gone = _expert_count(dense, index) - _expert_count(model, index)
            assert gone == asked, f"block {index}: {said}"
    elif unit in ("heads", "hidden"):
        assert off <= 1, said
    elif unit == "channels":
        assert off <= sum(isinstance(m, nn.Conv2d) for m in dense.modules()), said
    if unit not in KEPT_SHAPES:
        before, after = report.parameters
        assert after == sum(p.numel() for p in model.parameters())
        assert after < before, f"no parameter is really gone: {before:,} before, {after:,} after"


def _expert_count(model: nn.Module, index: int) -> int:
    return len(next(p for p in experts(model, index).parameters() if p.ndim == 3))


def budget_zero(name: str, family: str) -> None:
    """A budget of nothing changes no bit of weights or logits."""
    model = toy(family)
    state, before = _state(model), _logits(model, family)
    run(model, name, family, **find(name).nothing)
    assert _same(state, _state(model)), "weights changed although nothing was to go"
    assert torch.equal(before, _logits(model, family)), "logits changed although nothing was to go"


def repeatable(name: str, family: str) -> None:
    """The same seed gives the same result, and the caller's random state stays as it was."""
    random = torch.random.get_rng_state()
    first, second = toy(family), toy(family)
    run(first, name, family, **_first(name), seed=3)
    torch.rand(7)  # the caller does something in between
    run(second, name, family, **_first(name), seed=3)
    assert _same(_state(first), _state(second)), "two runs with one seed differ"
    assert torch.equal(_logits(first, family), _logits(second, family)), (
        "two runs with one seed act differently"
    )
    torch.random.set_rng_state(random)
    run(toy(family), name, family, **_first(name), seed=4)
    assert torch.equal(random, torch.random.get_rng_state()), "the caller's random state moved"


def keeps_form(name: str, family: str) -> None:
    """dtype, device, `requires_grad` and tying stay, in float32 and bfloat16; shapes as the unit says."""
    chosen = find(name)
    for dtype in (torch.float32, torch.bfloat16):
        model = toy(family, dtype)
        first = next(model.parameters())
        first.requires_grad_(False)
        everything = model.named_parameters(remove_duplicate=False)
        frozen = {key for key, parameter in everything if parameter is first}
        before = _form(model)
        tied = getattr(model.config, "tie_word_embeddings", False)
        report = run(model, name, family, **_first(name))
        after = _form(model)
        if chosen.unit.name in KEPT_SHAPES:
            assert after == before, f"{dtype}: dtype, device, shape, requires_grad or tying moved"
        else:
            assert {form[1:3] for form in after} == {form[1:3] for form in before}, (
                f"{dtype}: dtype or device moved"
            )
            for key, parameter in model.named_parameters(remove_duplicate=False):
                assert parameter.requires_grad == (key not in frozen), (
                    f"{dtype}: whether {key} requires gradients changed"
                )
            if "head" not in chosen.touches:
                assert getattr(model.config, "tie_word_embeddings", False) == tied, (
                    f"{dtype}: tying moved"
                )
        assert report.removed > 0, f"{dtype}: nothing was removed"
        assert _logits(model, family).isfinite().all(), f"{dtype}: logits are not finite"


def leaves_nothing_behind(name: str, family: str) -> None:
    """No hook, attribute, mode or setting is left, after success and after a failure."""
    chosen = find(name)
    model = toy(family)
    model.train()
    if kind_of(model) != "convnet":
        blocks(model)[0].eval()
    before = _traces(model, chosen)
    run(model, name, family, **_first(name))
    runtime.detach(model)
    _same_traces(chosen, before, _traces(model, chosen), "a run")

    def fail(done: int, total: int, what: str) -> None:
        if done >= 1:
            raise KeyboardInterrupt

    model = toy(family)
    model.train()
    before = _traces(model, chosen)
    random = torch.random.get_rng_state()
    try:
        run(model, name, family, **_first(name), progress=fail)
    except KeyboardInterrupt:
        runtime.detach(model)
        _same_traces(chosen, before, _traces(model, chosen), "an interrupted run")
        assert torch.equal(random, torch.random.get_rng_state()), "the random state moved"
    else:
        raise AssertionError("the method did not report its progress")


def saves_and_loads(name: str, family: str) -> None:
    """What is saved is what is loaded: equal logits, equal form, equal generated tokens."""
    model = toy(family)
    run(model, name, family, **_first(name))
    with tempfile.TemporaryDirectory() as folder:
        save(model, None, f"{folder}/checkpoint", {"method": name})
        if getattr(model.config, "prunedex", None) or runtime.attached(model):
            loaded = read_checkpoint(f"{folder}/checkpoint")
        else:  # plain transformers must do
            loaded = AUTO[kind_of(model)].from_pretrained(f"{folder}/checkpoint")
    assert torch.equal(_logits(model, family), _logits(loaded, family)), (
        "logits differ after saving and loading"
    )
    assert _form(model, False) == _form(loaded, False), "the form differs after saving and loading"
    if kind_of(model) == "decoder":
        prompt = toy_tokens(1, 5, 9)
        one, other = (
            m.generate(  # type: ignore[operator]
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False
            )
            for m in (model, loaded)
        )
        assert torch.equal(one, other), "generated tokens differ after saving and loading"


def cached_decoding(name: str, family: str) -> None:
    """Decoding with the cache gives the logits of decoding without."""
    model = toy(family)
    run(model, name, family, **_first(name))
    if kind_of(model) != "decoder":
        return
    tokens = toy_tokens(1, 10, 5)
    with torch.no_grad():
        whole = model(tokens, use_cache=False).logits
        start = model(tokens[:, :6], use_cache=True)
        rest = model(tokens[:, 6:], past_key_values=start.past_key_values, use_cache=True)
    difference = (torch.cat([start.logits, rest.logits], 1) - whole).abs().max()
    assert difference <= 1e-4 * whole.abs().max(), f"cached logits are off by {difference:.2g}"


def touches_only_what_it_says(name: str, family: str) -> None:
    """Embeddings, head, norms, biases and routers stay bit-identical unless the method declares them."""
    chosen = find(name)
    model = toy(family)
    kinds = _kinds(model)
    before = {id_: (kind, p.detach().clone()) for id_, (kind, p) in kinds.items()}
    # Blocks may go: a part that stays is the same object, so parameters are told by module.
    run(model, name, family, **_first(name))
    for id_, (kind, parameter) in _kinds(model).items():
        if kind == "weights" or kind in chosen.touches or id_ not in before:
            continue
        old = before[id_][1]
        if (
            chosen.unit.name not in KEPT_SHAPES
            and kind == "biases"
            and old.shape != parameter.shape
        ):
            continue
        assert torch.equal(old, parameter), (
            f"{id_[1]} of {kind} changed, and is not declared in `touches`"
        )


def _kinds(model: PreTrainedModel) -> dict[tuple[int, str], tuple[str, Tensor]]:
    """Every parameter by (its module's identity, its name there), with the part it belongs to."""
    prunable: set[tuple[int, str]] = set()
    if kind_of(model) != "convnet":
        prunable = {(id(v.module), v.parameter) for v in all_views(model)}
    head: Any = model.get_output_embeddings() if kind_of(model) == "decoder" else None
    found: dict[tuple[int, str], tuple[str, Tensor]] = {}
    for module in model.modules():
        for own, parameter in module.named_parameters(recurse=False):
            key = (id(module), own)
            if key in prunable or isinstance(module, nn.Conv2d):
                kind = "weights"
            elif isinstance(module, nn.Embedding):
                kind = "embeddings"
            elif module is head or (isinstance(module, nn.Linear) and own == "weight"):
                kind = "head"
            elif own == "bias" and (key[0], "weight") in prunable:
                kind = "biases"
            elif hasattr(module, "top_k"):
                kind = "router"
            else:
                kind = "norms"
            found[key] = (kind, parameter)
    return found


def survives_dead_inputs(name: str, family: str) -> None:
    """Channels that are always zero give no NaN and no wrong budget."""
    model = toy(family)
    with torch.no_grad():
        if kind_of(model) == "convnet":
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight[:2] = 0
                    module.bias[:2] = 0
        else:
            for parameter in model.get_submodule(model.base_model_prefix).parameters():
                if parameter.ndim == 1 and len(parameter) == WIDTH:
                    # Gemma scales by 1 + weight
                    parameter[:3] = -1.0 if "gemma" in family else 0.0
    report = run(model, name, family, **_first(name))
    assert all(parameter.isfinite().all() for parameter in model.parameters()), "weights not finite"
    assert _logits(model, family).isfinite().all(), "logits not finite"
    assert report.removed > 0, "nothing was removed"


def refuses_bad_input(name: str, family: str) -> None:
    """A wrong budget, pattern, option or calibration is one clear error, the model untouched."""
    chosen = find(name)
    model = toy(family)
    run(toy(family), name, family, **_first(name))  # an unsupported family is another matter
    state = _state(model)
    argument = chosen.budgets[0]
    whole = [-1, 2.5, 99, "three"]
    share: list[Any] = [1.2, -0.1, float("nan"), 1.0 if chosen.unit.nothing == 0 else 0.0, "half"]
    wrong: list[dict[str, Any]] = [
        {argument: value} for value in (whole if chosen.unit.kind == "count" else share)
    ]
    wrong += [{**_first(name), "no_such_option": 1}, {**_first(name), "batch_size": 0}]
    if chosen.patterned:
        wrong += [
            {"pattern": "2:3"},  # 3 does not divide the width
            {"pattern": "4:2"},
            {"pattern": "two of four"},
            {"pattern": "2:4", "sparsity": 0.7},
        ]
    if chosen.needs == "calibration":
        nothing = Calibration(torch.zeros((0, 8), dtype=torch.long), "none", "", 0)
        beyond = Calibration(torch.full((1, 8), 10_000), "other tokenizer", "", 0)
        wrong += [{"calibration": data} for data in (None, nothing, beyond)]
    if chosen.needs == "labels":
        good = toy_labelled(family)
        beyond_labels = LabelledData(good.inputs, good.labels + LABELS, "other", "", 0)
        wrong += [{"calibration": data} for data in (None, toy_calibration(), beyond_labels)]
    for arguments in wrong:
        try:
            run(model, name, family, **arguments)
        except BadInput as error:
            said = error.message.strip()
        else:
            raise AssertionError(f"{arguments} was accepted")
        assert said, f"{arguments}: the error says nothing"
        assert _same(state, _state(model)), f"{arguments} was refused, but the model changed"


def batch_size_does_not_matter(name: str, family: str) -> None:
    """How many samples go through a block at once changes the result by rounding only."""
    chosen = find(name)
    one, all_at_once = toy(family), toy(family)
    run(one, name, family, **_first(name), batch_size=1)
    run(all_at_once, name, family, **_first(name), batch_size=4)
    if chosen.unit.name == "weights":
        different = total = 0
        for a, b in zip(all_views(one), all_views(all_at_once), strict=True):
            different += int(((a.W == 0) != (b.W == 0)).sum())
            total += a.numel
        assert different <= 0.005 * total, f"{different:,} of {total:,} mask entries differ"
        return
    first, second = _state(one), _state(all_at_once)
    assert {k: v.shape for k, v in first.items()} == {k: v.shape for k, v in second.items()}, (
        "other structures went"
    )
    before, after = _logits(one, family), _logits(all_at_once, family)
    difference = (before - after).abs().max()
    assert difference <= 1e-2 * before.abs().max(), f"logits differ by {difference:.2g}"


CHECKS: dict[str, Callable[[str, str], None]] = {
    check.__name__: check
    for check in (
        exact_budget,
        budget_zero,
        repeatable,
        keeps_form,
        leaves_nothing_behind,
        saves_and_loads,
        cached_decoding,
        touches_only_what_it_says,
        survives_dead_inputs,
        refuses_bad_input,
        batch_size_does_not_matter,
    )
}
"""Name to check(method, toy family); a broken promise is an AssertionError in words."""


@dataclass(frozen=True)
class Outcome:
    """One check of one method on one family: passed, failed or an expected failure, and why."""

    method: str
    check: str
    family: str
    result: str
    """`passed`, `failed` or `declared` (the method says that it does not prune this family)"""
    text: str = ""


def check_method(name: str, families: list[str] | None = None) -> Iterator[Outcome]:
    """Run the whole contract on a method, check by check, family by family.

    Raises `BadInput` if there is no such method. A crash of the method is a
    failure of the check, not of this function.
    """
    find(name)
    for family in families or toys_for(name):
        for title, check in CHECKS.items():
            try:
                check(name, family)
            except ExpectedFailureError as error:
                yield Outcome(name, title, family, "declared", error.reason)
            except AssertionError as error:
                yield Outcome(name, title, family, "failed", str(error))
            except PrunedexError as error:
                yield Outcome(name, title, family, "failed", f"refused: {error.message}")
            except Exception as error:
                text = str(error).partition("\n")[0]
                yield Outcome(name, title, family, "failed", f"{type(error).__name__}: {text}")
            else:
                yield Outcome(name, title, family, "passed")


def _form(model: nn.Module, trainable: bool = True) -> list[tuple[Any, ...]]:
    """dtype, device, shape, tying and, where asked, `requires_grad` of every parameter."""
    seen: dict[int, int] = {}
    return [
        (
            name,
            p.dtype,
            str(p.device),
            tuple(p.shape),
            seen.setdefault(id(p), i),
            p.requires_grad if trainable else None,
        )
        for i, (name, p) in enumerate(model.named_parameters(remove_duplicate=False))
    ]


def _traces(model: PreTrainedModel, chosen: Method) -> list[Any]:
    """What a method could leave behind: attributes, hooks, modes, settings."""
    config: Any = model.config
    settings = config.to_dict() if chosen.unit.name in KEPT_SHAPES else None
    found: list[Any] = [settings, getattr(config, "_experts_implementation", None)]
    found.append(getattr(config, "_attn_implementation", None))
    for name, module in model.named_modules():
        hooks = (
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            len(module._backward_hooks),
        )
        found.append(
            (name, type(module).__name__, tuple(sorted(module.__dict__)), hooks, module.training)
        )
    return found


def _same_traces(chosen: Method, before: list[Any], after: list[Any], what: str) -> None:
    if chosen.unit.name in KEPT_SHAPES:
        assert before == after, f"{what} left hooks, attributes, modes or settings behind"
        return
    assert before[:3] == after[:3], f"{what} left a setting behind"
    hooks = [trace[0] for trace in after[3:] if any(trace[3])]
    assert not hooks, f"{what} left a hook at {hooks[0]}"
    known: dict[str, Counter[Any]] = {}
    for _, kind, attributes, _, _ in before[3:]:
        known.setdefault(kind, Counter())[attributes] += 1
    for name, kind, attributes, _, _ in after[3:]:
        assert kind not in known or attributes in known[kind], (
            f"{what} left an attribute behind at {name}: "
            f"{set(attributes) - set(next(iter(known[kind])))}"
        )
    modes = {trace[4] for trace in before[3:]}
    assert {trace[4] for trace in after[3:]} <= modes, f"{what} changed the training mode"
