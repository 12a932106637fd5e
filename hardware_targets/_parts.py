"""Finding parts: a file without a leading underscore is a part, its folder is the registry. Listing imports nothing."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from hardware_targets._errors import TargetError, unknown

_HOME = Path(__file__).parent
ROLES = {"target": "", "meter": "meters", "runtime": "runtimes"}


def names(role: str) -> list[str]:
    """The parts of a role, by name."""
    return sorted(path.stem for path in (_HOME / ROLES[role]).glob("*.py") if not path.stem.startswith("_"))


def build(role: str, name: str, **options: Any) -> Any:
    """The part, with its options. Errors: UnknownPart, TargetError for an option that it does not take."""
    if name not in names(role):
        raise unknown(role, name, names(role))
    module = importlib.import_module(".".join(filter(None, ("hardware_targets", ROLES[role], name))))
    part = getattr(module, role.capitalize())
    known = inspect.signature(part).parameters
    for option in options:
        if option not in known:
            raise TargetError(f"{role} {name!r} takes no option {option!r}; it takes: {', '.join(known) or 'none'}")
    return part(**options)


def doctor() -> list[dict[str, Any]]:
    """One row per part: role, name, available, and the reason why not, or what an available one falls short of."""
    rows = []
    for role in ROLES:
        for name in names(role):
            part, reason = _try(role, name)
            rows.append({"role": role, "name": name, "available": reason is None, "reason": reason or _short_of(part)})
    return rows


def _try(role: str, name: str) -> tuple[Any, str | None]:
    try:
        part = build(role, name)
        return part, part.unavailable()
    except Exception as error:  # a part under construction must not hide the others
        return None, f"it cannot be loaded: {type(error).__name__}: {error}"


def _short_of(part: Any) -> str | None:
    if getattr(part, "kind", None) != "modelled-generic":
        return None
    return (
        "energy from it is modelled-generic, not measured: it is used where no energy counter is available; "
        "do not rank different precisions by it"
    )
