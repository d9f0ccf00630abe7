"""Programs that bring visitors of the internet to a port of this host, over a connection that they open themselves."""

TUNNELS = frozenset({"cloudflared", "frpc", "ngrok", "natapp", "rathole"})
