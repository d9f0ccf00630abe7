"""Find credentials in untrusted words and hide them: by the name they stand under, by their form, by their place."""

HIDDEN = "***"
