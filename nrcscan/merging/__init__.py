"""Files of data shards into one, as if one pass had seen all samples."""
