"""Everything that fusecast raises on purpose.

FusecastError
├── SchemaError     the description of a table contradicts itself or the table
├── DataError       the rows of a table break a promise that the schema makes
├── ConfigError     sizes or options that cannot work, alone or together
├── TrainingError   training cannot start or go on
└── ArtifactError   a saved file is missing, foreign, truncated or unsafe

Each class owns its wording: a message says what is wrong, where (column, series, row), and what to do.
"""

from __future__ import annotations

from fusecast.errors.artifact import ArtifactError
from fusecast.errors.base import FusecastError
from fusecast.errors.config import ConfigError
from fusecast.errors.data import DataError
from fusecast.errors.schema import SchemaError
from fusecast.errors.training import TrainingError

__all__ = ["ArtifactError", "ConfigError", "DataError", "FusecastError", "SchemaError", "TrainingError"]
