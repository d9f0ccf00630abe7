"""The models behind the tasks, one module per model family."""
