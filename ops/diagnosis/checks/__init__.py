"""The judges, one module per layer. Each is a pure function of the snapshot's sections it names as parameters."""

from ops.diagnosis.checks import (
    app,
    dns,
    env,
    gunicorn,
    gunicorn_configuration,
    gunicorn_trust,
    gunicorn_workers,
    host,
    model,
    net,
    nginx,
    nginx_errors,
    nginx_running,
    nginx_trust,
    safeguards,
    tls,
    tls_files,
)
from ops.diagnosis.finding import Check

CHECKS: tuple[Check, ...] = (
    *dns.CHECKS,
    *net.CHECKS,
    *tls.CHECKS,
    *tls_files.CHECKS,
    *nginx.CHECKS,
    *nginx_errors.CHECKS,
    *nginx_running.CHECKS,
    *nginx_trust.CHECKS,
    *gunicorn.CHECKS,
    *gunicorn_configuration.CHECKS,
    *gunicorn_trust.CHECKS,
    *gunicorn_workers.CHECKS,
    *app.CHECKS,
    *model.CHECKS,
    *host.CHECKS,
    *env.CHECKS,
    *safeguards.CHECKS,
)
