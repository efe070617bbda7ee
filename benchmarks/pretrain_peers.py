"""The peers of `pretrain.py`: transformers' Trainer, and nanoGPT's loop; and what both sides do."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from turns import Turns

VOCABULARY = 8192
LINES = 40_000  # that a peer reads one by one
SetUp = Literal["shipped", "bfloat16", "tuned"]


class Work(NamedTuple):
    """What both sides do."""

    objective: str
    layers: int
    width: int
    rows: int
    length: int
    lines: bool = False  # the peer pads each line of the text instead of joining them
    slow: bool = False  # fewer steps a turn
    gpu: bool = False  # measured on a GPU only


def device() -> str:
    """Return the kind of device that both sides compute on."""
    from trivium.train.device import settled_device

    return settled_device("auto")


def precision() -> str:
    """Return the type that this device multiplies fastest."""
    from trivium.train.device import settled_device
    from trivium.train.measure import settled_precision

    return settled_precision("auto", settled_device("auto"))


def trainer(work: Work, dropout: float, set_up: SetUp, steps: int, folder: Path) -> None:
    """Train as run_mlm and run_clm do, the same with their option `--bf16`, or tuned."""
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "data" / "tokenizer.json"),
        pad_token="[PAD]",
        mask_token="[MASK]",
        cls_token="[CLS]",
    )
    collate = collator(work, tokenizer)
    counted = {"tokens": 0}

    def counting(examples: list[dict[str, Any]]) -> Any:
        counted["tokens"] += sum(len(example["input_ids"]) for example in examples)
        return collate(examples)

    class ByTurns(TrainerCallback):  # type: ignore[misc]
        """Counts the tokens of the step, and waits where the turn is over."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.turns, self.before = Turns(steps), counted["tokens"]

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now = counted["tokens"]
            loss = state.log_history[-1].get("loss", 0.0) if state.log_history else 0.0
            self.turns.tick(now - self.before, loss=float(loss))
            self.before = now

    rows = Dataset.from_dict({"input_ids": list(blocks(work, folder))})
    asked = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=work.rows,
        max_steps=1_000_000,
        learning_rate=1e-4,
        logging_steps=steps,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=type_of(set_up) == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=2 if set_up == "tuned" and torch.cuda.is_available() else 0,
    )
    network = peer_network(work, dropout, set_up)
    Trainer(model=network, args=asked, train_dataset=rows, data_collator=counting, callbacks=[ByTurns()]).train()


def type_of(set_up: SetUp) -> str:
    """Return the type that the peer computes in."""
    return "float32" if set_up == "shipped" else precision()


def peer_network(work: Work, dropout: float, set_up: SetUp) -> Any:
    """Return transformers' network of the work's architecture."""
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        GPT2Config,
        GPT2LMHeadModel,
        T5Config,
        T5ForConditionalGeneration,
    )

    heads = work.width // 64
    attention = "eager" if set_up == "tuned" and precision() == "bfloat16" and device() == "cpu" else "sdpa"
    if work.objective == "masked":
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=work.width,
            num_hidden_layers=work.layers,
            num_attention_heads=heads,
            intermediate_size=4 * work.width,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        return BertForMaskedLM._from_config(config, attn_implementation=attention)
    if work.objective == "causal":
        drops = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
        config = GPT2Config(vocab_size=VOCABULARY, n_embd=work.width, n_layer=work.layers, n_head=heads, **drops)
        return GPT2LMHeadModel._from_config(config, attn_implementation=attention)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=work.width,
        d_kv=64,
        d_ff=4 * work.width,
        num_layers=work.layers,
        num_heads=heads,
        dropout_rate=dropout,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config)


def collator(work: Work, tokenizer: Any) -> Callable[[list[dict[str, Any]]], Any]:
    """Return what makes a batch of the peer's examples."""
    from transformers import DataCollatorForLanguageModeling

    if work.objective == "spans":
        return spans_collator(work)
    collate: Callable[[list[dict[str, Any]]], Any] = DataCollatorForLanguageModeling(
        tokenizer, mlm=work.objective == "masked", mlm_probability=0.15
    )
    return collate


def spans_collator(work: Work) -> Callable[[list[dict[str, Any]]], Any]:
    """Return T5's span corruption of full rows: 15 % of the tokens in spans of 3 on average, each named by a mark."""
    import numpy as np
    import torch

    rng = np.random.default_rng(0)
    hidden = round(0.15 * work.length)
    spans = round(hidden / 3)

    def parts(total: int) -> Any:
        """Return `spans` random lengths of at least 1 that add up to the total."""
        cuts = np.sort(rng.choice(total - 1, spans - 1, replace=False)) + 1
        return np.diff(np.concatenate([[0], cuts, [total]]))

    def corrupted(ids: list[int]) -> tuple[list[int], list[int]]:
        read: list[int] = []
        written: list[int] = []
        place = 0
        for number, (kept, gone) in enumerate(zip(parts(len(ids) - hidden), parts(hidden), strict=True)):
            mark = VOCABULARY - 1 - number
            read += [*ids[place : place + kept], mark]
            written += [mark, *ids[place + kept : place + kept + gone]]
            place += kept + gone
        return read, written

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        read, written = zip(*(corrupted(example["input_ids"]) for example in examples), strict=True)
        return {"input_ids": torch.tensor(read), "labels": torch.tensor(written)}

    return collate


def nanogpt(work: Work, steps: int, folder: Path, checkout: Path) -> None:
    """Train as nanoGPT's train.py does: its model, optimiser, batches and clipping; on a CPU not compiled."""
    import numpy as np
    import torch

    sys.path.insert(0, str(checkout))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    shape = {"n_layer": work.layers, "n_head": work.width // 64, "n_embd": work.width}
    network = GPT(GPTConfig(block_size=work.length, vocab_size=VOCABULARY, dropout=0.0, bias=False, **shape))
    network.to(device())
    optimiser = network.configure_optimizers(0.1, 1e-4, (0.9, 0.95), device())
    autocast = torch.autocast(device(), torch.bfloat16, enabled=device() == "cuda")
    compute = torch.compile(network) if device() == "cuda" else network
    tokens = np.concatenate(list(documents(folder))).astype(np.int64)
    on_gpu = device() == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True

    def batch() -> tuple[Any, Any]:
        starts = torch.randint(len(tokens) - work.length - 1, (work.rows,)).tolist()
        given = torch.stack([torch.from_numpy(tokens[start : start + work.length]) for start in starts])
        wanted = torch.stack([torch.from_numpy(tokens[start + 1 : start + 1 + work.length]) for start in starts])
        if not on_gpu:
            return given, wanted
        return tuple(part.pin_memory().to(device(), non_blocking=True) for part in (given, wanted))

    turns, step, said = Turns(steps), 0, 0.0
    given, wanted = batch()
    while True:
        with autocast:
            _, loss = compute(given, wanted)
        given, wanted = batch()  # while the GPU computes
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        if not on_gpu or step % 10 == 0:  # as it logs: each time a GPU is waited for
            said = float(loss)
        turns.tick(given.numel(), loss=said)


def blocks(work: Work, folder: Path) -> Iterator[list[int]]:
    """Yield the peer's examples: all texts joined and cut to rows, or some lines, each cut to a row's length."""
    import numpy as np

    if work.lines:
        from trivium.data.shards import PreparedData

        text = (folder / "train.txt").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.strip()]
        some = lines[:: max(1, len(lines) // LINES)]
        spans = PreparedData.open(folder / "data").tokenizer.encode_batch(some)
        yield from (each.ids[: work.length].tolist() for each in spans)
        return
    tokens = np.concatenate(list(documents(folder)))
    for start in range(0, len(tokens) - work.length + 1, work.length):
        yield tokens[start : start + work.length].tolist()


def documents(folder: Path) -> Iterator[Any]:
    """Yield the ids of each text."""
    from trivium.data.shards import PreparedData

    yield from PreparedData.open(folder / "data").split("train").documents()
