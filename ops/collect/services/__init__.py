"""nginx, gunicorn, certbot, logrotate and the application, as they lie on disk."""
