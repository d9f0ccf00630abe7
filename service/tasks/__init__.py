"""What the service answers, one module per ``task_type``."""
