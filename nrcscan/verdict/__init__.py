"""What may be concluded from the quantities: conditions and where they begin to hold."""
