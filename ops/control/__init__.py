"""Acting on the service: one module per remedy, shared by the watchdog and the doctor's --fix.

Each says what it does, what it needs, and what it raises where it could not; none decides whether it should be done.
"""
