"""One name in `sys.modules`, two answers: who stages sees the new module.

While a new generation executes, `dataclasses`, `typing`, `pickle` and `inspect` look
its modules up in `sys.modules`, and so does the rest of the program, which must go on
finding the old ones. For that time, and no longer, a facade stands there.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from luminal.loading.onstage import staging

__all__ = ["Facade"]


class Facade(ModuleType):
    """Stands for *staged* where it is being staged, for *serving* everywhere else.

    Args:
        name: Full name of the module.
        serving: What the program sees.
        staged: What the transaction sees.
        stage: The transaction.
    """

    def __init__(
        self, name: str, serving: ModuleType, staged: ModuleType, stage: object
    ) -> None:
        super().__init__(name)
        own = object.__getattribute__(self, "__dict__")
        own["_serving"], own["_staged"], own["_stage"] = serving, staged, stage

    def __getattribute__(self, name: str) -> Any:
        return getattr(_resolve(self), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(_resolve(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_resolve(self), name)

    def __dir__(self) -> list[str]:
        return dir(_resolve(self))


def _resolve(facade: ModuleType) -> ModuleType:
    """Return the module that *facade* stands for for the caller."""
    own = object.__getattribute__(facade, "__dict__")
    answers = staging.get()
    is_staging = answers is not None and answers.stage is own["_stage"]
    module: ModuleType = own["_staged" if is_staging else "_serving"]
    return module
