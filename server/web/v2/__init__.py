"""The Open Inference Protocol, version 2, with its binary, repository and statistics extensions."""
