"""The errors that a user can meet: each is one line that says what is wrong, where, and what to do."""


class StudyError(Exception):
    """Anything that the user can mend. The command line prints it as one line and exits with 1."""

    def _render_traceback_(self) -> list[str]:
        """Say the same one line in a notebook: IPython asks an exception for this."""
        return [f"{type(self).__name__}: {self}"]


class BadRequest(StudyError):
    """What was asked for makes no sense: an unknown name, a number out of range, a design that differs."""


class MissingTool(StudyError):
    """A program that is needed is not installed."""

    def __init__(self, program: str, command: str) -> None:
        super().__init__(f"{program} is not installed; install it with: {command}")


class BadData(StudyError):
    """A file of a campaign is not what it should be."""


class BoardFailed(StudyError):
    """A board cannot be measured, or stopped being measurable."""


class Refused(BoardFailed):
    """A board answered that it cannot do what it was asked for; it is there, and can be asked for other things."""


class WrongBoot(BoardFailed):
    """A board must be restarted, perhaps with another kernel, before it goes on: why, and what a user can do."""

    def __init__(self, why: str, todo: str = "") -> None:
        super().__init__(f"{why}: {todo}" if todo else why)
        self.why = why


class Busy(StudyError):
    """Another command is at work where only one may be."""
