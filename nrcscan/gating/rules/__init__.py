"""Rules on a checkpoint's results: `parse` reads one, `evaluate` applies it; neither runs code."""
