"""Behaviour of the real server, asked over TLS; `running.py` starts it, `conftest.py` shares it."""
