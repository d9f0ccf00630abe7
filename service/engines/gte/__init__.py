"""GTE-large: a BERT sentence encoder, from a directory as ModelScope delivers it.

The work is shared, so that whatever the engine does, the web worker answers. The worker reads texts into tokens
(``tokens``), keeps the bounded queue and takes batches out of it (``queue``, ``dispatcher``); it never imports torch.
Its child, the template (``process``), loads the one copy of the weights (``weights``) and forks the engine, which
computes (``forward``, ``linear``, ``lanes``). Between worker and engine go length-framed bytes (``wire``), and what
becomes of the engine is seen and answered by ``supervision``.
"""
