"""The number of the gate's rules, for processes that know its verdicts but import none of it."""

# one more whenever a rule changes: every model is then judged again
VERSION = 6
