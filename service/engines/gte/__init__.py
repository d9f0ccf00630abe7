"""GTE-large: a BERT sentence encoder, from a directory as ModelScope delivers it.

The web worker tokenizes texts (``tokens``) and keeps the bounded queue (``queue``); it never imports torch, so it
answers whatever the engine does. Its child, the forkserver (``process``), loads the one copy of the weights
(``weights``) and forks the engine, which computes (``forward``, ``linear``, ``parallel_rows``). Worker and engine
exchange length-framed bytes (``protocol``); ``engine`` detects a lost or stuck engine, and the loop in
``service.engines.worker`` replaces it.
"""
