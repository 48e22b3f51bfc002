"""The errors that users of fusecast can cause and correct.

FusecastError
├── SchemaError                a schema contradicts itself or the table
├── DataError                  the rows of a table contradict its schema
├── DatabaseError              a database cannot be reached, read or written as asked
├── ConfigError                options are invalid, alone or together
│   ├── InvalidOptionsError    options of a run are unknown, missing or out of bounds
│   └── NothingToExplainError  no window lies in the span to explain
├── TrainingError              training cannot start or continue
└── ArtifactError              a saved file is missing, truncated, unsafe, or of another program
    └── UnsafeArtifactError    a saved file holds code that loading would have to execute

TrainingInterrupted (a KeyboardInterrupt): Ctrl+C ended training before a model existed.

FusecastWarning (a UserWarning)
└── DataWarning                something in the rows of a table that a user has to know to judge the result
    └── DataNote               what a table holds and how it was understood

Messages are written in the classes: what is wrong, where (column, series, row), and what to do.
"""

from __future__ import annotations

from fusecast.errors.artifact import ArtifactError, UnsafeArtifactError
from fusecast.errors.base import FusecastError, FusecastWarning
from fusecast.errors.config import ConfigError, InvalidOptionsError, NothingToExplainError
from fusecast.errors.data import DataError
from fusecast.errors.data_warnings import DataNote, DataWarning
from fusecast.errors.database import DatabaseError
from fusecast.errors.schema import SchemaError
from fusecast.errors.training import TrainingError, TrainingInterrupted

__all__ = [
    "ArtifactError",
    "ConfigError",
    "DataError",
    "DataNote",
    "DataWarning",
    "DatabaseError",
    "FusecastError",
    "FusecastWarning",
    "InvalidOptionsError",
    "NothingToExplainError",
    "SchemaError",
    "TrainingError",
    "TrainingInterrupted",
    "UnsafeArtifactError",
]
