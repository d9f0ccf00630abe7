"""The inference service: a Flask application served by gunicorn, with nginx in front of it."""
