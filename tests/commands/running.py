"""Running commands, and what they print on a terminal and elsewhere."""

from dataclasses import dataclass
from io import StringIO

from django.core.management import CommandError, call_command


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@dataclass
class Done:
    """What a command has printed, and its CommandError, if it raised one."""

    out: str
    err: str
    error: CommandError | None

    @property
    def lines(self):
        """The lines on stdout."""
        return self.out.splitlines()


def attempt(*args, stdout=None, stderr=None, **options):
    """Run a command that may fail."""
    out, err, error = stdout or StringIO(), stderr or StringIO(), None
    try:
        call_command(*args, stdout=out, stderr=err, **options)
    except CommandError as raised:
        error = raised
    return Done(out.getvalue(), err.getvalue(), error)


def run(*args, **options):
    """Run a command that succeeds, and return what it has printed on stdout."""
    done = attempt(*args, **options)
    assert done.error is None, done
    return done.out
