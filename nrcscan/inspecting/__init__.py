"""What a checkpoint is and holds."""
