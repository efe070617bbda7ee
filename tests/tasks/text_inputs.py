"""Texts in ten scripts, and made-up texts like them."""

import numpy as np

SCRIPTS = {
    "English": "The quick brown fox doesn't jump over 3.5 lazy dogs; it sleeps in the sun.",
    "Chinese": "我喜欢阅读中国古典小说，尤其是《红楼梦》，它写于十八世纪。",
    "Japanese": "東京タワーは高さ333メートルの塔で、多くの人がここを訪れます。",
    "Korean": "저는 어제 서울에서 오래된 친구를 만나서 함께 저녁을 먹었습니다.",
    "Thai": "ฉันชอบอ่านหนังสือเก่าในห้องสมุดใกล้บ้านทุกวันเสาร์",
    "Hindi": "मुझे पुरानी किताबें पढ़ना और पहाड़ों में घूमना बहुत पसंद है।",
    "Arabic": "أحب قراءة الكتب القديمة في المكتبة القريبة من بيتي كل يوم.",
    "Russian": "Я люблю читать старые книги в библиотеке недалеко от моего дома.",
    "Greek": "Μου αρέσει να διαβάζω παλιά βιβλία στη βιβλιοθήκη κοντά στο σπίτι μου.",
    "Hebrew": "אני אוהב לקרוא ספרים ישנים בספרייה ליד הבית שלי בכל יום.",
}
_WORDS = """
the cat sat on a mat. The cat's mat, (it) is well-known: 3,500 or 3.5% of U.S. cats! "Quite" so; e-mail a@b.c &amp; x/y
-- ok... naïve café — “so” 1990-2000 don't <skipped> 中文 10-
"""
_CHARACTERS = "我们在北京读书，他说：“很好”！（2019年）的是了一不，。、—…《》 GPT-4 3.5% abc"


def made_up(seed: int, *, spaces: bool) -> tuple[list[str], list[list[str]]]:
    """Return texts, and for each text three references, some of which are like it."""
    rng = np.random.default_rng(seed)
    units = _WORDS.split() if spaces else list(_CHARACTERS)
    texts, references = [], []
    for _ in range(int(rng.integers(1, 25))):
        right = [[str(unit) for unit in rng.choice(units, int(rng.integers(1, 30)))] for _ in range(3)]
        given = [unit if rng.random() < 0.8 else str(rng.choice(units)) for unit in right[0]]
        joint = " " if spaces else ""
        texts.append(joint.join(given[int(rng.integers(0, 2)) :]))
        references.append([joint.join(row) for row in right])
    return texts, references
