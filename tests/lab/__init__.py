"""The fault lab: a real nginx, gunicorn and name server on loopback, to be broken for real."""
