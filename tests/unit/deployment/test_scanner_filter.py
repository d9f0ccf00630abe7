"""The snippet of scanner_filter: which agents nginx takes for scanners."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SNIPPET = Path(__file__).parents[3] / "deploy/nginx/snippets/gte-api-scanners.conf"

SCANNERS = (
    "sqlmap/1.8#stable (https://sqlmap.org)",
    "Mozilla/5.00 (Nikto/2.1.6) (Evasions:None) (Test:000001)",
    "Nuclei - Open-source project (github.com/projectdiscovery/nuclei)",
    "nuclei/3.1.0",
    "masscan/1.3 (https://github.com/robertdavidgraham/masscan)",
    "ivre-masscan/1.3 https://ivre.rocks/",
    "Mozilla/5.0 zgrab/0.x",
    "Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)",
    "DirBuster-1.0-RC1 (http://www.owasp.org/index.php/Category:OWASP_DirBuster_Project)",
    "gobuster/3.6",
    "feroxbuster/2.10.0",
    "dirsearch",
    "WPScan v3.8.22 (https://wpscan.com/wordpress-security-scanner)",
    "w3af.org",
    "Wfuzz/3.1.0",
    "Fuzz Faster U Fool v2.1.0-dev",
)
CLIENTS = (
    "cell-nuclei-annotator/2.1 (python-requests/2.31)",
    "nuclei-annotator/2.1",
    "Nuclei counter/1.0",
    "cell nuclei/2",
    "microscope/1.0 (nuclei, cytoplasm)",
    "not-sqlmap/1.0",
    "report-reader/1.0 (reads Nikto reports)",
    "dirsearch-results/1.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "curl/8.5.0",
    "python-requests/2.31",
    "OpenAI/Python 1.50.0",
    "",
)


def _is_scanner(agent: str) -> bool:
    block = SNIPPET.read_text(encoding="utf-8").partition("map $http_user_agent")[2].partition("\n}")[0]
    patterns = re.findall(r'"~\*(.*)" agent;', block)
    assert patterns
    return any(re.search(pattern, agent, re.IGNORECASE) for pattern in patterns)


@pytest.mark.parametrize("agent", SCANNERS)
def test_a_scanner_is_known_by_the_form_of_its_own_agent(agent: str) -> None:
    assert _is_scanner(agent)


@pytest.mark.parametrize("agent", CLIENTS)
def test_a_client_whose_agent_has_a_scanner_s_word_passes(agent: str) -> None:
    assert not _is_scanner(agent)
