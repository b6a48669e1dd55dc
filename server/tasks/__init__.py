"""What can be predicted: one file a task, and their `table`."""
