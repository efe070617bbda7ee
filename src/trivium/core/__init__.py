"""What every other room uses and that uses none of them: errors, configs, layouts, batches, keys, files."""
