"""UniNLU: ModelScope's universal extraction by prompt and pointer, from a directory as ModelScope delivers it.

The model runs in a process of its own (``process``, ``model``), a descendant of the web worker, which never imports
torch: if the model takes seconds to load, runs out of memory or hangs, that costs the requests it had and no others.
The web worker's side is ``extractor``; the two exchange lines of JSON. ``checkpoint`` checks the files.
"""
