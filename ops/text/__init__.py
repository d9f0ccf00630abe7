"""Words: languages, sanitising, durations, timestamps."""
