"""ONNX files by the fields of their format."""
