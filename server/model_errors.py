"""Refusals of model files by their kind: a branch of the tree in `server.errors`."""

from server.errors import BadModel


class UnservedFormat(BadModel):
    """A file of a kind that can read and write other files, which is not served."""

    status, slug, title = 415, "model-format", "The format of the model is not served"


# the gate's codes of such files; any other refusal is about what is in a file of a kind we serve
UNSERVED = frozenset({"saved-model"})
