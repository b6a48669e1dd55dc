"""What intake keeps of a model: its version is another when a server reads it otherwise."""

RECORD_VERSION = 4
