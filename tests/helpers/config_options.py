"""Every option of a run's configuration, by its full name."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fusecast.config import RunConfig


def all_options() -> dict[str, FieldInfo]:
    """Return the fields of RunConfig and of its sections, such as ``horizon`` and ``training.seed``."""
    options: dict[str, FieldInfo] = {}
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            options |= {f"{name}.{below}": option for below, option in field.annotation.model_fields.items()}
        else:
            options[name] = field
    return options
