"""What was used last, by name, and no more of it than there is room for."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

_Name = TypeVar("_Name")
_Value = TypeVar("_Value")


class Recent(Generic[_Name, _Value]):
    """Values by name, of which those that were used last are kept, ``most`` at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[_Name, _Value] = OrderedDict()

    def get(self, name: _Name) -> _Value | None:
        """Return what is kept under ``name``, ``None`` where nothing is."""
        value = self._kept.get(name)
        if value is not None:
            self._kept.move_to_end(name)
        return value

    def keep(self, name: _Name, value: _Value) -> None:
        """Keep ``value`` under ``name``, in place of another one."""
        self._kept[name] = value
        self._kept.move_to_end(name)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
