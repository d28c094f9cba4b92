"""Every checkpoint of a folder: found, measured once, and told about in one table."""
