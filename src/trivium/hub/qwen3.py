"""Qwen3: Llama with normed queries and keys, and in some models layers that see a window."""

from trivium.hub.compare import shortest
from trivium.hub.family import BUFFERS, HubFamily, Names, block_entries
from trivium.hub.llama import modern_body, modern_language, read_modern, read_norm, write_modern
from trivium.hub.options import Tree, layer_types, only, option, parts, slides
from trivium.hub.readouts import ends, last_token, words
from trivium.model.config import BlockConfig, Decoder, ModelConfig

_NORMS = (
    ("attention.branch.query_norm", "self_attn.q_norm"),
    ("attention.branch.key_norm", "self_attn.k_norm"),
)


def _read(tree: Tree) -> ModelConfig:
    only(tree, mlp_bias=False)
    config = read_modern(tree, max_length=32_768, size_of_heads=128)
    (stack,) = config.stacks()
    norm, windows = read_norm(tree, 1e-6), _windows(tree, stack.num_layers)

    def block(window: int | None) -> BlockConfig:
        changed = {"query_key_norm": norm, "window": window}
        attention = stack.block(0).attention.model_copy(update=changed)
        return stack.block(0).model_copy(update={"attention": attention})

    pattern = shortest(tuple(block(window) for window in windows))
    return config.model_copy(update={"family": Decoder(stack=stack.model_copy(update={"pattern": pattern}))})


def _windows(tree: Tree, num_layers: int) -> list[int | None]:
    """Return how far each layer sees."""
    window = option(tree, "sliding_window", 4096) if option(tree, "use_sliding_window", False) else None
    first = option(tree, "max_window_layers", 28)
    return [window if slid else None for slid in slides(tree, [layer >= first for layer in range(num_layers)])]


def _write(config: ModelConfig) -> Tree:
    stack = parts(config).stack
    options = {key: value for key, value in write_modern(config).items() if key != "mlp_bias"}
    windows = [stack.block(number).attention.window for number in stack.order()]
    used = [window for window in windows if window is not None]
    if not used:
        return {**options, "use_sliding_window": False}
    kinds = layer_types(window is not None for window in windows)
    return {**options, "use_sliding_window": True, "sliding_window": used[0], "layer_types": kinds}


def _body(config: ModelConfig) -> Names:
    (stack,) = config.stacks()
    return Names((*modern_body(config).entries, *block_entries(stack, "stack", "layers.{}", _NORMS)))


QWEN3 = HubFamily(
    model_type="qwen3",
    read=_read,
    write=_write,
    body=_body,
    language=modern_language,
    language_models=("Qwen3ForCausalLM",),
    base_models=("Qwen3Model",),
    prefix="model.",
    readouts=(last_token("Qwen3"), words("Qwen3", label="score"), ends("Qwen3", prefix="transformer.")),
    spare=BUFFERS,
)
