"""The base of the sections of a configuration, and the types of their options. Loads neither torch nor polars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from fusecast.errors.base import did_you_mean, shorten
from fusecast.errors.config import InvalidOptionsError, describe_allowed, list_choices

REPLACEMENTS: Mapping[str, Mapping[str, str]] = {
    "precision": {
        **dict.fromkeys(("16-true", "fp16", "float16", "half"), "'16-mixed' or 'bf16-mixed' on a GPU, or 32"),
        **dict.fromkeys(("bf16-true", "bfloat16", "transformer-engine"), "'bf16-mixed' on a GPU, or 32"),
        **dict.fromkeys(("transformer-engine-float16", "nf4"), "'16-mixed' or 'bf16-mixed' on a GPU, or 32"),
    },
    "accelerator": dict.fromkeys(("tpu", "xpu", "hpu", "npu"), "'cuda', 'mps' or 'cpu'"),
    "head": {"gaussian": "'normal'"},
}
"""Values that other libraries have, by option, and what to use in their place: not what is spelled alike."""
OLD_NAMES: Mapping[str, Mapping[str, str]] = {"training": {"start": "weight_init"}}
"""Options that had another name in files of earlier versions, by section: these names are read, and never written."""


def _refuse_bool_and_text(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticCustomError("not_a_number", "neither a truth value nor a text is a number")
    return value


def _one_name_as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


NUMBER = BeforeValidator(_refuse_bool_and_text)
Int = Annotated[int, NUMBER]
Float = Annotated[float, NUMBER]
Count = Annotated[int, Field(ge=1), NUMBER]
NonNegativeInt = Annotated[int, Field(ge=0), NUMBER]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False), NUMBER]
Names = Annotated[tuple[str, ...], BeforeValidator(_one_name_as_tuple)]


class Section(BaseModel):
    """Base of the sections: frozen; every mistake is an :class:`InvalidOptionsError` with the option's full name."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    _section: ClassVar[str] = ""

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**with_current_names(values, self._section))
        except ValidationError as error:
            raise InvalidOptionsError(dict(self._problems(error))) from None

    @classmethod
    def _problems(cls, error: ValidationError) -> Iterator[tuple[str, str]]:
        """Yield the full name of each invalid option, and what is wrong with it."""
        prefix = f"{cls._section}." if cls._section else ""
        schemas = cls.model_json_schema()["properties"]
        for problem in error.errors(include_url=False):
            name, value = str(problem["loc"][0]), problem["input"]
            match problem["type"]:
                case "missing":
                    text = "must be given"
                case "extra_forbidden":
                    text = f"is not an option\n{did_you_mean(name, cls.model_fields)}"
                case "literal_error":
                    instead = REPLACEMENTS.get(name, {}).get(str(value))
                    hint = f"Hint: it is not supported; use {instead}" if instead else None
                    hint = hint or did_you_mean(str(value), list_choices(schemas[name]))
                    text = f"cannot be {shorten(value)}\n{hint}"
                case _:
                    text = f"must be {describe_allowed(schemas[name])}, not {shorten(value)}"
            yield prefix + name, text

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Yield the options that differ from their defaults."""
        for name, value in self:
            if value != type(self).model_fields[name].get_default(call_default_factory=True):
                yield name, value

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """Return a copy with changes, which are validated like any other values."""
        return type(self)(**{**dict(self), **(update or {})})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and YAML; the same values make the same section."""
        return self.model_dump(mode="json")


def with_current_names(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Replace the old names of options of a section; where both names are given, the current one counts."""
    renamed = OLD_NAMES.get(section, {})
    current = {renamed[name]: value for name, value in values.items() if name in renamed}
    return current | {str(name): value for name, value in values.items() if name not in renamed}
