"""GTE-large: a BERT sentence encoder, from a directory as ModelScope delivers it.

Two processes share the work, so that whatever the engine does, the web worker answers. The worker reads texts into
tokens (``tokens``), keeps the bounded queue and takes batches out of it (``queue``, ``dispatcher``). The engine
process (``process``), its child, holds the one copy of the weights and computes (``weights``, ``linear``,
``forward``); the worker never imports torch. Between them go length-framed bytes (``wire``), and what becomes of the
child is seen and answered by ``supervision``.
"""
