"""Scores of the spans of a text, from the states of their first and last words."""

from torch import Tensor, nn
from torch.nn import functional

from trivium.model.feed_forward import ActivationFunction
from trivium.model.linear import Linear


class SpanHead(nn.Module):
    """A biaffine classifier of spans (Yu, Bohnet & Poesio 2020, section 3, after Dozat & Manning 2017).

    With s the first word's and e the last word's vector, a span's scores are `s U e + V s + W e + b`, of which U gives
    a number for each class. Only a band is computed: a word as the first one of spans of 1 to W words.

    `Differs from Yu et al.:` they score all pairs of words, and put an LSTM between the encoder and the vectors.

    Args:
        transform: of the hidden states, before all else.
        hidden_size: D.
        size: K, numbers of a first word's and of a last word's vector.
        num_classes: C, that of no span among them.
        max_words: W, words of the longest span.
        activation: of the vectors.
        dropout: of the hidden states and of the vectors.
        bias: whether vectors and scores have offsets.
    """

    def __init__(
        self,
        *,
        transform: nn.Module,
        hidden_size: int,
        size: int,
        num_classes: int,
        max_words: int,
        activation: ActivationFunction,
        dropout: nn.Module,
        bias: bool,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.first = Linear(hidden_size, size, bias=bias)
        self.last = Linear(hidden_size, size, bias=bias)
        self.both = Linear(size, num_classes * size, bias=False)
        self.of_first = Linear(size, num_classes, bias=bias)
        self.of_last = Linear(size, num_classes, bias=False)
        self.max_words = max_words
        self.activation = activation
        self.dropout = dropout

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """Return scores_NWC: of word n as the first of a span of w + 1 words, in the type of the hidden states.

        Args:
            hidden_ND: of words in the order of their text. Of texts one after another, whoever asks knows which
                spans go on from one into the next; beyond the last word vectors are 0.
        """
        hidden_ND = self.dropout(self.transform(hidden_ND))
        first_NK = self.dropout(self.activation(self.first(hidden_ND)))
        last_NK = self.dropout(self.activation(self.last(hidden_ND)))
        both_NKC = self.both(first_NK).unflatten(-1, (-1, first_NK.shape[-1])).transpose(1, 2)
        scores_NWC = self._band(last_NK) @ both_NKC + self._band(self.of_last(last_NK))
        return scores_NWC + self.of_first(first_NK)[:, None]

    def _band(self, each_NK: Tensor) -> Tensor:
        """Return for each word the numbers of it and of those that follow, [N, W, K]."""
        return functional.pad(each_NK, (0, 0, 0, self.max_words - 1)).unfold(0, self.max_words, 1).transpose(1, 2)
