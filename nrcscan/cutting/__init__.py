"""The smallest network that does as well: its first layers and a linear head, from statistics."""
