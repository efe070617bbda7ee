"""A decoder trained on a made-up Markov chain codes held-out text nearly as well as its source, and no better."""

import numpy as np
import torch

from support import MadeUpSplit
from trivium.core.random import Key
from trivium.data.loader import ahead, step_batches
from trivium.data.packing import RowReader
from trivium.model.config import BlockConfig, Decoder, ModelConfig, NormalInit, StackConfig
from trivium.model.initialise import initialise
from trivium.model.parts import AttentionConfig, Gated, RMSNormConfig, Rotary
from trivium.objectives.base import score_labels
from trivium.objectives.causal import Causal
from trivium.train.config import AdamWConfig, LinearSchedule
from trivium.train.loop import train_steps
from trivium.train.optimisers import build_optimiser
from trivium.train.precision import TrainedWeights
from trivium.train.schedules import lr_share

SYMBOLS = 12
ROW_LENGTH, ROWS, STEPS = 64, 16, 1000
HELD_OUT = 230_000


class Source:
    """A chain of order 2: the next symbol is drawn from a distribution that the last two choose."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        # Sharp: of the 12 symbols two or three are likely after each pair.
        self.next_XYZ = rng.dirichlet(np.full(SYMBOLS, 0.25), size=(SYMBOLS, SYMBOLS))
        pair_XY = np.full((SYMBOLS, SYMBOLS), SYMBOLS**-2.0)
        for _ in range(2000):
            pair_XY = np.einsum("xy,xyz->yz", pair_XY, self.next_XYZ)
        self.pair_XY = pair_XY
        self.one_X = pair_XY.sum(1)

    def split(self, name: str, num_documents: int, length: int, seed: int) -> MadeUpSplit:
        """Texts that begin as if they had always gone on."""
        rng = np.random.default_rng(seed)
        texts_SL = np.empty((num_documents, length), dtype=np.int64)
        pairs_S = rng.choice(SYMBOLS**2, num_documents, p=self.pair_XY.reshape(-1))
        texts_SL[:, 0], texts_SL[:, 1] = np.divmod(pairs_S, SYMBOLS)
        cumulative_XYZ = self.next_XYZ.cumsum(-1)
        for place in range(2, length):
            following_SZ = cumulative_XYZ[texts_SL[:, place - 2], texts_SL[:, place - 1]]
            texts_SL[:, place] = (rng.random((num_documents, 1)) >= following_SZ[:, :-1]).sum(1)
        return MadeUpSplit(name, tuple(texts_SL))

    def nats(self, tokens_BL: np.ndarray, document_BL: np.ndarray) -> np.ndarray:
        """-log p of each token but a row's first, given what precedes it in its piece of the row: [B, L - 1]."""
        before, after = tokens_BL[:, :-1], tokens_BL[:, 1:]
        with np.errstate(divide="ignore"):
            # The second symbol of a piece has one before it: the pairs' stationary distribution says what follows.
            nats = -np.log(self.pair_XY[before, after] / self.one_X[before])
            inside = document_BL[:, 2:] == document_BL[:, :-2]
            whole = -np.log(self.next_XYZ[tokens_BL[:, :-2], tokens_BL[:, 1:-1], tokens_BL[:, 2:]])
        nats[:, 1:] = np.where(inside, whole, nats[:, 1:])
        return nats


def small_decoder() -> ModelConfig:
    block = BlockConfig(
        attention=AttentionConfig(num_heads=2, num_key_value_heads=2, head_size=32, bias=False),
        feed_forward=Gated(size=192, activation="silu"),
        norm=RMSNormConfig(),
        placement="pre",
    )
    stack = StackConfig(num_layers=2, pattern=(block,), position=Rotary(), final_norm=RMSNormConfig())
    return ModelConfig(
        vocabulary_size=SYMBOLS,
        hidden_size=64,
        max_length=ROW_LENGTH,
        family=Decoder(stack=stack),
        initialisation=NormalInit(residual="scaled"),
    )


def test_the_decoder_comes_within_two_percent_of_the_true_source_and_not_below_it() -> None:
    source, objective, config = Source(0), Causal(), small_decoder()
    reader = RowReader(source.split("train", 100, 10_000, 1), row_length=ROW_LENGTH, key=Key(0), pad=0)
    network = objective.network(config)
    initialise(network, config, Key(0))
    optimiser = AdamWConfig(lr=4e-3, weight_decay=0.01)
    reports = list(
        train_steps(
            TrainedWeights(network, "float32"),
            objective,
            build_optimiser(optimiser, network),
            ahead(step_batches(reader, objective.make, rows_per_step=ROWS, key=Key(0)), 0, STEPS),
            start=0,
            lr=lambda step: optimiser.lr * lr_share(LinearSchedule(warmup_share=0.1), step, STEPS),
            accumulation=1,
            max_gradient_norm=1.0,
            key=Key(0),
        )
    )
    assert len(reports) == STEPS
    held_out = RowReader(source.split("test", 23, HELD_OUT // 23, 2), row_length=ROW_LENGTH, key=None, pad=0)
    ours, true = [], []
    with torch.inference_mode():
        for start in range(0, held_out.rows_per_epoch, 256):
            rows = held_out.rows(start, min(start + 256, held_out.rows_per_epoch))
            batch = objective.make(rows, Key(0))
            used = batch.weights_BN.numpy() > 0
            ours.append(score_labels(network.eval(), batch).nats_BN.double().numpy()[used])
            true.append(source.nats(rows.tokens_BL, rows.document_BL)[used])
    model_nats, source_nats = np.concatenate(ours), np.concatenate(true)
    assert len(model_nats) == len(source_nats) == HELD_OUT - 23 > 200_000
    assert np.isfinite(source_nats).all()
    difference = (model_nats - source_nats)[: len(model_nats) // 500 * 500].reshape(-1, 500).mean(1)
    standard_error = difference.std(ddof=1) / np.sqrt(len(difference))
    assert 0.5 < source_nats.mean() < 0.7 * np.log(SYMBOLS)  # worth learning
    assert model_nats.mean() <= 1.02 * source_nats.mean()
    assert difference.mean() >= -3 * standard_error
