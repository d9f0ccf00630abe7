"""What nginx does with one request, computed from its configuration by nginx's own rules. Pure: data in and out."""
