"""Replace photons while the host runs: watch, plan, swap, retire.

The modules: `watching` reports changes of files, `_directory_watch` and
`_distribution_watch` act on them, `_reloader` decides what one swap replaces, `_plan`
has what affects what, `_swap` is the transaction, `_probation` can roll it back, and
`_retirement` ends what was replaced. `_prepared` has a swap wait for a decision.
`_kill_watch` ends what must not run. `_loop` runs coroutines from threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal._lazy import Getter, Lister, lazy_attributes

if TYPE_CHECKING:
    from luminal.reload._directory_watch import DirectoryWatch as DirectoryWatch
    from luminal.reload._distribution_watch import (
        DistributionWatch as DistributionWatch,
    )
    from luminal.reload._kill_watch import KillWatch as KillWatch
    from luminal.reload._loop import LoopRunner as LoopRunner
    from luminal.reload._prepared import Prepared as Prepared
    from luminal.reload._prepared import fleet_path as fleet_path
    from luminal.reload._reloader import Policy as Policy
    from luminal.reload._reloader import Reloaded as Reloaded
    from luminal.reload._reloader import Reloader as Reloader
    from luminal.reload._settings_watch import SettingsWatch as SettingsWatch
    from luminal.reload._swap import Previous as Previous

__getattr__: Getter
__dir__: Lister
__getattr__, __dir__ = lazy_attributes(
    globals(),
    {
        "_directory_watch": ("DirectoryWatch",),
        "_distribution_watch": ("DistributionWatch",),
        "_kill_watch": ("KillWatch",),
        "_loop": ("LoopRunner",),
        "_prepared": ("Prepared", "fleet_path"),
        "_reloader": (
            "Policy",
            "Reloaded",
            "Reloader",
        ),
        "_settings_watch": ("SettingsWatch",),
        "_swap": ("Previous",),
    },
)
