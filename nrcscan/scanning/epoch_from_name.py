"""When in training a checkpoint was saved, as its name tells."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

NO_TIME = (None, None)
"""What is said of a name that tells neither epoch nor step."""

_EPOCH = re.compile(r"(?:^|[^a-z])ep(?:och)?s?[-_=. ]?(\d+)", re.I)
_STEP = re.compile(r"(?:^|[^a-z])(?:global_?)?(?:step|iter(?:ation)?)s?[-_=. ]?(\d+)", re.I)
_STEPS = re.compile(r"(?:^|[-_= ])(\d+)[-_ ]?(?:step|iter(?:ation)?)s$", re.I)
_NUMBER = re.compile(r"(?:^|[-_= ])(\d+)$")
_FOLDER_STEP = re.compile(r"^checkpoint[-_](\d+)$")
_MOMENT = re.compile(
    r"(?:epoch|ep|(?:global_?)?step|iter(?:ation)?|checkpoint|ckpt)[-_=. ]?\d+"
    r"(?:[-_=. ](?:step|iter)[-_=. ]?\d+)?",
    re.I,
)


def epoch_and_step(path: str, *, folder: bool = False) -> tuple[int | None, int | None]:
    """Return epoch and step as a checkpoint's name tells them.

    >>> epoch_and_step("wd0/epoch_600.pt"), epoch_and_step("a/10.pth")
    ((600, None), (10, None))
    >>> epoch_and_step("epoch=3-step=1200.ckpt")
    (3, 1200)
    >>> epoch_and_step("rl_model_1000_steps.zip")
    (None, 1000)
    >>> epoch_and_step("checkpoint-500", folder=True), epoch_and_step("best_wd0.01.pt")
    ((None, 500), (None, None))
    """
    name = path.rpartition("/")[2]
    if folder:
        trained = _FOLDER_STEP.match(name)
        if trained:
            return None, int(trained[1])
    stem = name if folder else name.removesuffix(PurePosixPath(name).suffix)
    epoch, step = _EPOCH.search(stem), _STEP.search(stem) or _STEPS.search(stem)
    if epoch is None and step is None:
        epoch = _NUMBER.search(stem)
    return (None if epoch is None else int(epoch[1])), (None if step is None else int(step[1]))


def is_moment(folder: str) -> bool:
    """Whether a folder is called after a moment of training, and not after a run.

    >>> is_moment("wd0/checkpoint-500"), is_moment("wd0/seed_1"), is_moment("epochs100_lr0.1")
    (True, False, False)
    """
    return _MOMENT.fullmatch(folder.rpartition("/")[2]) is not None
