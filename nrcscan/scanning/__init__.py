"""Every checkpoint of a folder: found, measured once, and told about in one table.

`find` says what is there, `plan` what is left to do, `run` has `worker` processes do it, `cache`
keeps what they found, and `result` is what all of it comes down to.
"""

from nrcscan.scanning.folder import scan
from nrcscan.scanning.result import Checkpoint, Scan

__all__ = ["Checkpoint", "Scan", "scan"]
