"""The only place that reads a `ModelConfig`: one file a union says what each option does."""

from trivium.model.build.kernel import choose_kernel
from trivium.model.build.network import build_network, build_readout, build_span_head

__all__ = ["build_network", "build_readout", "build_span_head", "choose_kernel"]
