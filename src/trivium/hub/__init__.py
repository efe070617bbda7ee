"""Checkpoints of other houses, Hugging Face and TensorFlow, read and written without running anything in them."""
