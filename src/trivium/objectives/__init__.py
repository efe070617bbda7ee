"""What a network learns from text: which tokens are hidden, what is predicted, and how wrong the prediction is."""
