"""UniNLU: ModelScope's universal extraction by prompt and pointer, from a directory as ModelScope delivers it.

The model runs in a process of its own (``process``, ``model``), a child of the worker, which never imports torch:
what the model does, whether it takes seconds to load, runs out of memory or hangs, costs the requests it held and
nothing else. The worker's side is ``extractor``; between them go lines of JSON. ``checkpoint`` looks at the files.
"""
