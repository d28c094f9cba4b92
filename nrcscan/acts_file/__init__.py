"""The HDF5 file between extraction and report: docs/file-format.md. Nothing else touches HDF5."""
