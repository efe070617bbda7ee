"""Lower layers slower or later, wider networks alike: learning rates by depth and by width."""

import pytest
import torch

from support import lively, parameters_of, tiny
from training import run_config, trial
from trivium.core.config import override, parse
from trivium.model.config import ModelConfig, MuP, NormalInit
from trivium.model.heads import Network
from trivium.model.roles import layer_depths
from trivium.train.config import RunConfig, load_recipe
from trivium.train.optimiser_config import AdamWConfig, LambConfig, LionConfig, MuonConfig, OptimiserConfig
from trivium.train.optimisers import Pace, build_optimiser, set_lr
from trivium.train.pace_config import UnfreezeByEpochs, UnfreezeBySteps
from trivium.train.paces import first_steps, paces, run_paces


def test_layer_decay_is_exact() -> None:
    network = lively(tiny("encoder", "learned"))
    each = paces(network, tiny("encoder"), AdamWConfig(), layer_decay=0.8)
    depths = layer_depths(network)
    assert each == {name: Pace(scale=0.8**depth) for name, depth in depths.items()}
    optimiser = build_optimiser(AdamWConfig(), network, each)
    set_lr(optimiser, 0.5)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    names = {name: rates[id(parameter)] for name, parameter in network.named_parameters()}
    assert names == {name: 0.5 * 0.8**depth for name, depth in depths.items()}
    assert max(depths.values()) == 3 and min(names.values()) == names["stack.embedding.tokens.weight"]


def test_nothing_is_asked_for_nothing_is_changed() -> None:
    network = lively(tiny("decoder"))
    plain, asked = (
        build_optimiser(AdamWConfig(), network),
        build_optimiser(AdamWConfig(), network, paces(network, tiny("decoder"), AdamWConfig())),
    )
    assert [len(group["params"]) for group in plain.param_groups] == [len(g["params"]) for g in asked.param_groups]
    assert len(plain.param_groups) == 2


def test_layers_join_in_from_the_top() -> None:
    by_steps = first_steps(UnfreezeBySteps(every=10), ())
    assert [by_steps(depth) for depth in range(4)] == [0, 10, 20, 30]
    by_epochs = first_steps(UnfreezeByEpochs(), [7, 15, 22])
    assert [by_epochs(depth) for depth in range(6)] == [0, 7, 15, 22, 22, 22]
    assert [first_steps(UnfreezeByEpochs(every=2), [7, 15, 22])(depth) for depth in range(3)] == [0, 15, 22]
    assert first_steps(None, [7])(5) == 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_unfreezes_from_the_top_and_goes_on_from_anywhere(precision: str) -> None:
    config = run_config("decoder-tiny", precision=precision)  # type: ignore[arg-type]
    train = config.train.model_copy(update={"unfreezing": UnfreezeBySteps(every=2)})
    attempt = trial(config.model_copy(update={"train": train}))
    depths, before = layer_depths(attempt.network), parameters_of(attempt.network)
    for step in range(7):
        attempt.reports(step, step + 1)
        now = parameters_of(attempt.network)
        moved = {depths[name] for name in now if not torch.equal(now[name], before[name])}
        assert moved == {depth for depth in range(4) if depth * 2 <= step}


def grown(width: int, base: int | None, *, heads_grow: bool = False) -> ModelConfig:
    """A decoder whose every size is in proportion to its width."""
    size = width // 4 if heads_grow else 8
    tree = tiny("decoder").model_dump(mode="json", exclude_none=True)
    changes = [f"hidden_size={width}", "family.stack.num_layers=2"]
    block = "family.stack.pattern.0"
    changes += [f"{block}.attention.{key}={width // size}" for key in ("num_heads", "num_key_value_heads")]
    changes += [f"{block}.attention.head_size={size}", f"{block}.feed_forward.size={2 * width}"]
    config = parse(ModelConfig, override(tree, changes), "grown")
    mup = None if base is None else MuP(base_hidden_size=base, base_head_size=8 if heads_grow else None)
    # Drawn as is usual for its width, so that it is the learning rate that makes the difference.
    std = 0.1 if base is not None else 0.1 * (32 / width) ** 0.5
    return config.model_copy(update={"parametrisation": mup, "initialisation": NormalInit(std=std)})


def change(config: ModelConfig, optimiser: OptimiserConfig) -> dict[str, float]:
    """How far a few steps move the logits and what the branches of the last block write, in root mean squares."""
    run = run_config("decoder-tiny").model_copy(update={"model": config, "optimiser": optimiser})
    attempt = trial(run)
    network, batch, seen = attempt.network, attempt.batch(99), []
    assert isinstance(network, Network)
    for sublayer in (network.reader.blocks[-1].attention, network.reader.blocks[-1].feed_forward):
        sublayer.branch.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))

    def look() -> list[torch.Tensor]:
        seen.clear()
        with torch.no_grad():
            hidden_BLD = network(batch)
            return [*seen, network.head(hidden_BLD.flatten(0, 1))]

    before = look()
    attempt.reports(0, 4)
    moved = [float((new - old).square().mean().sqrt()) for new, old in zip(look(), before, strict=True)]
    return dict(zip(("attention", "feed_forward", "logits"), moved, strict=True))


@pytest.mark.parametrize("optimiser", [AdamWConfig(lr=0.01), LionConfig(lr=0.005), MuonConfig(lr=0.02)])
@pytest.mark.parametrize("heads_grow", [False, True])
def test_activations_move_alike_at_every_width(optimiser: OptimiserConfig, heads_grow: bool) -> None:
    scaled = [change(grown(width, 32, heads_grow=heads_grow), optimiser) for width in (32, 128, 512)]
    plain = [change(grown(width, None, heads_grow=heads_grow), optimiser) for width in (32, 512)]
    assert scaled[0] == plain[0]
    for part in ("attention", "feed_forward", "logits"):
        assert 0.5 < scaled[2][part] / scaled[0][part] < 1.2, part
        assert 0.8 < scaled[2][part] / scaled[1][part] < 1.2, part
        assert plain[1][part] > 1.3 * plain[0][part], part
    assert plain[1]["logits"] > 1.7 * plain[0]["logits"]


def test_weights_lose_alike_at_every_width_and_a_recipe_says_the_base_width_once() -> None:
    base, wide = (
        load_recipe(name, ["model.parametrisation.kind=mup", "model.parametrisation.base_hidden_size=128"])
        for name in ("decoder-tiny", "decoder-mini")
    )
    assert isinstance(wide.model.initialisation, NormalInit)
    assert wide.model.initialisation == base.model.initialisation == load_recipe("decoder-tiny").model.initialisation
    assert wide.optimiser.lr == base.optimiser.lr == 0.003125
    each = run_paces(wide, trial(wide).network)
    name = "stack.blocks.0.feed_forward.branch.down.weight"
    assert each[name] == Pace(scale=0.5, decay=2.0)
    assert each["stack.embedding.tokens.weight"] == each["stack.final_norm.weight"] == Pace()
    lamb = run_paces(wide.model_copy(update={"optimiser": LambConfig()}), trial(wide).network)
    assert lamb[name] == Pace(scale=0.5**0.5)
    assert parse(RunConfig, wide.model_dump(mode="json"), "again") == wide
