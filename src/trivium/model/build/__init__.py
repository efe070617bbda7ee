"""The only place that reads a `ModelConfig`: one file a union says what each option does."""

from trivium.model.build.network import build_network

__all__ = ["build_network"]
