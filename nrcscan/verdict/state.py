"""What a verdict is, by name: what reads or filters one needs no more."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What a verdict is, by its name in JSON."""

    COLLAPSED = "collapsed"
    LAST_LAYER_ONLY = "last layer only"
    PARTLY = "partly"
    NOT_COLLAPSED = "not collapsed"
    UNDECIDED = "undecided"
    NOT_JUDGED = "cannot be judged"
    LEARNED_NOTHING = "learned nothing"
