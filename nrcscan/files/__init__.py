"""Files: opened safely, told by content, in natural order, written whole or not at all."""
