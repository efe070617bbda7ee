"""From text to rows of tokens: readers, tokenizer, shards, order, packing, loader, labelled examples."""
