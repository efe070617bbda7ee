"""trivium: one core, three roads. BERT-, GPT- and T5-family language models on your own text."""

__version__ = "0.1.0"
