"""The directives of an untrusted configuration that may be given to an nginx.

nginx can run code while reading its configuration: modules, Perl, scripts, engines of OpenSSL. So only directives known
by name are allowed: those of nginx's own modules and of a few others that load nothing, run nothing and write no file
except those that `ops.backups.staging` redirects. A configuration with any other directive that this nginx understands
is not tried.

Sources: nginx documentation, alphabetical index of directives; the documentation of each module named below.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from ops.text.language import Text
from ops.text.sanitize import safe_line

# nginx's own directives that are missing from crossplane's table, mostly newer ones.
_NEWER = frozenset(
    """
    add_header_inherit add_trailer_inherit auth_delay early_hints epoll_events fastcgi_allow_upstream
    grpc_allow_upstream grpc_ssl_certificate_cache grpc_ssl_conf_command gzip_hash gzip_no_buffer gzip_window http2
    http2_pool_size http2_streams_index_size http3 http3_hq http3_max_concurrent_streams http3_stream_buffer_size
    keepalive_min_timeout keepalive_time max_errors max_headers mp4_start_key_frame pass post_action postpone_gzipping
    proxy_allow_upstream proxy_cookie_flags proxy_half_close proxy_pass_trailers proxy_smtp_auth
    proxy_ssl_certificate_cache proxy_ssl_conf_command quic_active_connection_id_limit quic_bpf quic_gso quic_host_key
    quic_retry scgi_allow_upstream ssi_ignore_recycled_buffers ssl_alpn ssl_certificate_cache
    ssl_certificate_compression ssl_conf_command ssl_ech_file ssl_object_cache_inheritable ssl_ocsp ssl_ocsp_cache
    ssl_ocsp_responder ssl_reject_handshake userid_flags uwsgi_allow_upstream uwsgi_ssl_certificate_cache
    uwsgi_ssl_conf_command uwsgi_string
    """.split()  # noqa: SIM905  a table that reads as one
)
# Modules that distributions package: headers-more, brotli, zstd, echo, fancyindex, substitutions filter, GeoIP2,
# upload progress, set-misc, dav-ext, upstream-fair, virtual host traffic status.
_PACKAGED = frozenset(
    """
    more_set_headers more_clear_headers more_set_input_headers more_clear_input_headers
    brotli brotli_buffers brotli_comp_level brotli_min_length brotli_static brotli_types brotli_window
    zstd zstd_buffers zstd_bypass zstd_comp_level zstd_min_length zstd_static zstd_types
    echo echo_duplicate echo_flush echo_sleep echo_reset_timer echo_read_request_body echo_location echo_location_async
    echo_subrequest echo_subrequest_async echo_foreach_split echo_end echo_request_body echo_before_body
    echo_after_body echo_status
    fancyindex fancyindex_case_sensitive fancyindex_css_href fancyindex_default_sort fancyindex_directories_first
    fancyindex_exact_size fancyindex_footer fancyindex_header fancyindex_hide_parent_dir fancyindex_hide_symlinks
    fancyindex_ignore fancyindex_localtime fancyindex_name_length fancyindex_show_dotfiles fancyindex_show_path
    fancyindex_time_format
    subs_filter subs_filter_types subs_filter_bypass
    geoip2 geoip2_proxy geoip2_proxy_recursive
    upload_progress track_uploads report_uploads
    set_escape_uri set_unescape_uri set_if_empty set_quote_sql_str set_quote_json_str set_md5 set_sha1 set_hmac_sha1
    set_random set_secure_random_alphanum set_encode_base64 set_decode_base64 set_encode_hex set_decode_hex
    dav_ext_methods dav_ext_lock dav_ext_lock_zone
    fair upstream_fair_shm_size
    vhost_traffic_status vhost_traffic_status_zone vhost_traffic_status_display vhost_traffic_status_display_format
    """.split()  # noqa: SIM905
)
# In crossplane's table, but not harmless: they keep state in files of their own, or write profiles.
_EXCLUDED = frozenset({"google_perftools_profiles", "keyval_zone", "state", "upstream_conf", "zone_sync"})
_CODE = re.compile(
    r"load_module|ssl_engine|perl(?:_\w+)?|js_\w+|njs_\w+|\w*lua\w*|passenger_\w+|wasm\w*|modsecurity\w*"
    r"|opentracing\w*|otel_\w+|auth_pam\w*|exec(?:_\w+)?"
)
# nginx documentation, ssl_certificate_key: a key of an OpenSSL engine, or of a provider's store, each of which is code.
# The value of a variable may be one of these.
_KEY_IN_CODE = re.compile(r"(?:engine|store):|(?!data:).*\$", re.DOTALL)
_KEY = re.compile(r"(?:\w+_)?ssl_certificate(?:_key)?")
# SSL_CONF_cmd(3): the commands that name no file.
_CONF_COMMAND = re.compile(r"(?:\w+_)?ssl_conf_command")
_PLAIN_COMMANDS = frozenset(
    """
    ciphersuites cipherstring clientsignaturealgorithms curves ecdhparameters groups maxprotocol minprotocol
    numtickets options protocol recordpadding rxcertificatecompression signaturealgorithms txcertificatecompression
    """.split()  # noqa: SIM905
)


def objection(name: str, args: Sequence[str], place: str, understands: Callable[[str], bool]) -> Text | None:
    """Why a configuration with this directive is not given to nginx, None if it may be. ``place`` is FILE:LINE.

    ``understands`` says whether that nginx may know a directive of this name; an unknown one it refuses by itself.
    ``load_module`` is not decided here: only the caller knows whether the file is the host's own."""
    excerpt = safe_line(f"{place} {' '.join((name, *args[:1]))}", 200)
    runs_code = Text(en=f"it loads code ({excerpt})", zh=f"其中会加载代码（{excerpt}）")
    if _CODE.fullmatch(name):
        return runs_code
    if not is_known(name):
        if not understands(name):
            return None
        return Text(
            en=f"it is not known what this directive does ({excerpt})", zh=f"不了解该指令的作用（{excerpt}）"
        )
    if _KEY.fullmatch(name) and any(_KEY_IN_CODE.match(arg) for arg in args):
        return runs_code
    if _CONF_COMMAND.fullmatch(name) and (not args or args[0].lower() not in _PLAIN_COMMANDS):
        return Text(
            en=f"it is not known what this command does ({excerpt})", zh=f"不了解该命令的作用（{excerpt}）"
        )
    return None


@functools.cache
def _known() -> frozenset[str]:
    from crossplane.analyzer import DIRECTIVES

    return (frozenset(DIRECTIVES) | _NEWER | _PACKAGED) - _EXCLUDED


def is_known(name: str) -> bool:
    """Whether this directive of nginx, or of a known module, loads and runs nothing."""
    return name in _known() and not _CODE.fullmatch(name)
