"""From a pretrained network to a task: labelled examples, fine-tuning, scores, predictions; and what it says itself."""
