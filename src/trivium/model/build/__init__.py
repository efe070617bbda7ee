"""The only place that reads a `ModelConfig`: one file a union says what each option does."""

from trivium.model.build.kernel import choose_kernel
from trivium.model.build.network import build_network, build_readout

__all__ = ["build_network", "build_readout", "choose_kernel"]
