"""Why the service's last start failed, by its own last words, and what mends that on this host. Pure.

Nothing is imported here: every diagnosis reads the words (`words`), and only one of a failed start needs the kinds
(`kinds`) and what to do about them (`advice`), which take a healthy run's time to load."""
