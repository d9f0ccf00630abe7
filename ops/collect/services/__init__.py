"""Read the files of nginx, gunicorn, certbot, logrotate and the application."""
