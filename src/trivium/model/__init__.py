"""The transformer: one block, and the encoder, decoder and encoder-decoder made of it."""
