"""What a scan is judged by, and where the verdicts go."""
