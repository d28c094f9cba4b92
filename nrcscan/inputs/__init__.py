"""What a user brings: checkpoints, datasets and code of their own."""
