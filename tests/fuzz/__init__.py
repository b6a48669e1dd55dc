"""Parsers of outside bytes, fed with what a fuzzer makes of good inputs."""
