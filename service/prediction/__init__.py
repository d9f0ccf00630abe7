"""One prediction, from admitted texts to the engine's answer."""
