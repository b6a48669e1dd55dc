"""Child processes that decode, judge and predict, and the calls to them from the web process."""
