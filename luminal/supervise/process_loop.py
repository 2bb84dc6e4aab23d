"""A supervised child process: started again by the rules when it ends unasked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from luminal.supervise.superloop import SuperLoop

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from luminal.supervise.run import Run

__all__ = ["ChildEnded", "ProcessLoop"]


class ChildEnded(RuntimeError):  # noqa: N818 - what happened, in the past tense
    """The child ended by itself, or was killed by somebody else.

    Attributes:
        returncode: Its exit status; negative for the signal that killed it.
    """

    def __init__(self, command: Sequence[str], returncode: int) -> None:
        super().__init__(f"{command[0]!r} ended with {returncode}")
        self.returncode = returncode


class ProcessLoop(SuperLoop):
    """Keeps one child process running.

    Its cycle is the life of one child. Stopping asks the child (SIGTERM), waits for
    half of the grace period, then kills it.

    Args:
        command: Program and arguments.
        *args: Positional arguments of `SuperLoop`.
        **kwargs: Further arguments of `SuperLoop`; ``popen`` are those of
            `subprocess.Popen`.
    """

    def __init__(self, command: Sequence[str], *args: Any, **kwargs: Any) -> None:
        self._popen = kwargs.pop("popen", {})
        super().__init__(*args, **kwargs)
        self.command = list(command)
        self.child: subprocess.Popen[Any] | None = None

    @property
    def pid(self) -> int:
        """Number of the child that lives, or 0."""
        child = self.child
        return child.pid if child is not None and child.returncode is None else 0

    def cycle(self) -> None:
        """Start a child and wait for its end.

        Raises:
            ChildEnded: It ended with an error, and nobody had asked it to.
        """
        run = self._run_of_this_thread()
        self._live_once(run)

    def _live_once(self, run: Run | None) -> None:
        import subprocess

        child = subprocess.Popen(self.command, **self._popen)  # noqa: S603 - its job
        self.child = child
        try:
            while child.poll() is None:
                if run is not None and (run.stopping.is_set() or run.is_killed):
                    return
                try:
                    child.wait(0.05)
                except subprocess.TimeoutExpired:
                    self.beat()
        finally:
            self._end(child)
        if child.returncode:
            raise ChildEnded(self.command, child.returncode)
        raise SystemExit  # a good end: only a permanent child is started again

    def _end(self, child: subprocess.Popen[Any]) -> None:
        if child.poll() is not None:
            return
        child.terminate()
        end = time.monotonic() + self._grace_period / 2
        while child.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        if child.poll() is None:
            child.kill()
        child.wait()
