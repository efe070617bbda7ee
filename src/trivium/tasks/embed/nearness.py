"""What is learned from pairs of texts: who belongs together, and which pair is nearer than which."""

import torch
from torch import Tensor
from torch.nn import functional

from trivium.core.batch import Batch, Pairs


def group_vectors(vectors_ND: Tensor, batch: Batch, group_rows: int) -> Tensor:
    """Return the texts of each group as vectors of length 1, [groups, texts, D], in the order of their numbers.

    Args:
        vectors_ND: of the batch's labelled places, which are windows of texts; the weight of each is its share of one.
        batch: its labels are the numbers of texts in their group.
        group_rows: rows of a group.
    """
    rows, capacity = batch.labels_BN.shape
    texts = group_rows * capacity
    text_GM, share_GM = (part.reshape(rows // group_rows, texts) for part in (batch.labels_BN, batch.weights_BN))
    # A product instead of `index_add`, whose sums are in no fixed order on a GPU.
    share_GMT = functional.one_hot(text_GM, texts) * share_GM[:, :, None]
    sums_GTD = share_GMT.to(vectors_ND.dtype).transpose(1, 2) @ vectors_ND.view(-1, texts, vectors_ND.shape[-1])
    return functional.normalize(sums_GTD, dim=-1)


def grouped(pairs: Pairs, group_rows: int) -> Pairs:
    """Return pairs as [groups, pairs] instead of [rows, pairs]."""
    return Pairs(*(part.reshape(len(part) // group_rows, -1) for part in pairs))


def own_cosines(cosine_GTT: Tensor, pairs: Pairs) -> Tensor:
    """Return the cosine of each pair, [groups, pairs]; the pairs are `grouped`."""
    places_GP = pairs.first_BP * cosine_GTT.shape[-1] + pairs.second_BP
    return cosine_GTT.flatten(1).gather(1, places_GP)


def partner_nats(cosine_GTT: Tensor, pairs: Pairs, temperature: float) -> Tensor:
    """Return the cross-entropy of naming each text's partner among the others of its group, nats, [groups, pairs].

    It is the mean of both directions (InfoNCE, van den Oord et al. 2018, equation 4, with the softmax over cosines of
    SimCSE, Gao et al. 2021). Candidates for the second text of a pair are those of other pairs, but for what is in a
    pair with the first one too, and for the first one itself: these are not wrong.

    Args:
        cosine_GTT: of the texts of each group.
        pairs: `grouped`.
        temperature: of the softmax.
    """
    texts = cosine_GTT.shape[-1]
    used_GP = pairs.weights_BP > 0
    first_GP, second_GP = (torch.where(used_GP, part, 0) for part in (pairs.first_BP, pairs.second_BP))
    right_GTT = torch.eye(texts, dtype=torch.bool, device=cosine_GTT.device).repeat(len(cosine_GTT), 1, 1)
    for one_GP, other_GP in ((first_GP, second_GP), (second_GP, first_GP)):
        # Pairs that are not used say that text 0 is itself.
        right_GTT.view(len(cosine_GTT), -1).scatter_(1, one_GP * texts + other_GP, True)
    own_GP = own_cosines(cosine_GTT, pairs) / temperature
    nats_GP = torch.zeros_like(own_GP)
    for asked_GP, answer_GP in ((first_GP, second_GP), (second_GP, first_GP)):
        counted_GT = torch.zeros(cosine_GTT.shape[:2], device=cosine_GTT.device)
        candidate_GT = counted_GT.scatter_add(1, answer_GP, used_GP.to(counted_GT.dtype)) > 0
        wrong_GTT = candidate_GT[:, None, :] & ~right_GTT
        scores_GTT = (cosine_GTT / temperature).masked_fill(~wrong_GTT, torch.finfo(cosine_GTT.dtype).min)
        # log(e^own + sum of e^wrong) - own
        nats_GP = nats_GP + functional.softplus(scores_GTT.logsumexp(-1).gather(1, asked_GP) - own_GP) / 2
    return nats_GP


def order_nats(cosine_GP: Tensor, pairs: Pairs, temperature: float) -> Tensor:
    """Return how far the cosines of each group's pairs are from the order of their scores, nats, [groups].

    log(1 + sum of exp((cosine of q - cosine of p) / temperature) over all p that should be nearer than q) (CoSENT, Su
    2022; the loss of Circle loss, Sun et al. 2020, over pairs).

    Args:
        cosine_GP: of each pair.
        pairs: `grouped`.
        temperature: of the exponentials.
    """
    used_GPQ = (pairs.weights_BP[:, :, None] > 0) & (pairs.weights_BP[:, None, :] > 0)
    nearer_GPQ = (pairs.scores_BP[:, :, None] > pairs.scores_BP[:, None, :]) & used_GPQ
    excess_GPQ = (cosine_GP[:, None, :] - cosine_GP[:, :, None]) / temperature
    excess_GPQ = excess_GPQ.masked_fill(~nearer_GPQ, torch.finfo(cosine_GP.dtype).min)
    return functional.softplus(excess_GPQ.flatten(1).logsumexp(-1))
