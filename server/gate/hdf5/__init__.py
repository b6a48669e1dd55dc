"""HDF5 files, followed before the library follows them."""
