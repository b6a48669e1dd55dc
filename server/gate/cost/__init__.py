"""What a model keeps and costs, counted by shapes alone."""
