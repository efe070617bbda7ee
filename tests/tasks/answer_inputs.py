"""Made-up answers, whose scores the official scorers gave once (see tests/fixtures/make_answer_scores.py)."""

import numpy as np

Question = tuple[str, list[str]]  # given answer, right answers
ENGLISH = """
the The a an anchor cat cat's sat on mat. mat, (mat) U.S. u.s 3,500 3500 - -- well-known THEATRE is it
"""
CHINESE = """
北京 大学 1898 年 ， 《 红楼梦 》 iPhone X's U.S. don't 3,500 % ( 人 ) “ 中 ” 、 。 " cannot Dr. , AT&T ... C++
"""


def questions(seed: int, words: str, joint: str, *, unanswerable: float = 0.0) -> list[Question]:
    """Return questions whose answers are made of `words`, joined by `joint`; some have none, some are right."""
    rng = np.random.default_rng(seed)
    every = words.split()
    out: list[Question] = []
    for _ in range(60):
        right = [_text(rng, every, joint) for _ in range(int(rng.integers(1, 4)))]
        given = str(rng.choice([right[0], right[-1] + joint + str(rng.choice(every)), _text(rng, every, joint), ""]))
        out.append((given, [] if rng.random() < unanswerable else right))
    return out


def _text(rng: np.random.Generator, words: list[str], joint: str) -> str:
    return joint.join(str(word) for word in rng.choice(words, int(rng.integers(1, 7))))
