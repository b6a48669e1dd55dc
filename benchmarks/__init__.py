"""Measurements of the bars that this server promises; see the README here."""
