"""Supervised loops: how fast they restart, and what they cost."""

from __future__ import annotations

import time

from benchmarks.measure import banner, timed
from luminal.supervise import LoopController, SuperLoop

__all__ = ["loops"]


class Idle(SuperLoop):
    """A loop with almost nothing to do."""

    turns = 0

    def cycle(self):
        self.turns += 1
        time.sleep(0.5)


class Counting(SuperLoop):
    """A loop with nothing to do at all."""

    turns = 0

    def cycle(self):
        self.turns += 1
        if self.turns >= 200_000:
            self.stop()


class Stuck(SuperLoop):
    """A loop that does not return."""

    def cycle(self):
        time.sleep(3)


def loops(many):
    banner("loops: idle 1 % of a core; six stuck with 0.5 s of grace in 0.8 s")
    controller = LoopController()
    controller.start()
    cpu = time.process_time()
    time.sleep(2)
    print(f"idle controller  {(time.process_time() - cpu) / 2:.2%} of a core")
    controller.stop()
    controller = LoopController()
    for _ in range(6):
        controller.new_loop(Stuck(grace_period=0.5))
    controller.maintain_loops()
    took = timed(controller.stop_loops)
    print(f"six stuck loops  {took:.2f} s")
    loop = Counting()
    begun = time.perf_counter()
    loop.start()
    while loop.is_alive:
        time.sleep(0.01)
    each = (time.perf_counter() - begun) / 200_000
    print(f"overhead of one cycle  {each * 1e9:.0f} ns")
    controller = LoopController(grace_period=10)
    for _ in range(many):
        controller.new_loop(Idle(grace_period=10))
    up = timed(controller.maintain_loops)
    down = timed(controller.stop_loops)
    print(
        f"{many} loops  up {up:.2f} s, down {down:.2f} s, "
        f"alive after that {len(controller.alive_loops())}"
    )
