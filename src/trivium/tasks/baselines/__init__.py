"""What a score is measured against: methods without a network."""
